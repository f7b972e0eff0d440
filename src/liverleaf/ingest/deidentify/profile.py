"""The attributes that a de-identified DICOM image keeps, and what is done to each.

Whatever is not in these tables is removed. The tables follow the Basic Application Level
Confidentiality Profile of DICOM PS3.15, Annex E, with the options Clean Descriptors and Retain
Longitudinal Temporal Information With Modified Dates. They are narrower than the profile asks: a
list of what may stay needs no knowledge of everything that must go. Private elements, curves and
overlays are in no list, so none stays.
"""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What happens to an attribute that is not removed."""

    KEEP = "kept"
    UID = "replaced by a keyed hash, the same everywhere"
    DATE = "shifted by a number of days that belongs to the patient"
    WORDS = "kept as far as its words are in `WORDS`"
    ITEMS = "its items are treated by the same table"
    EMPTY = "emptied, because the standard wants it to be there"


METHOD = "liverleaf: PS3.15 Basic Profile by allow-list"
METHOD_CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}
"""Codes of the scheme DCM with their meanings, for the De-identification Method Code Sequence."""

IMAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted enhanced MR",
}
"""SOP classes that may pass: secondary captures, reports, presentation states and raw data are none
of them."""

SCREENS = r"dose.?(report|info|sheet)|patient.?protocol|screen.?(save|shot|cap)"
"""Series descriptions and image types of pictures of a screen: they show the patient's name."""

_SCHEMES = "DCM SCT SRT SNM3 99SDM UCUM LN FMA RADLEX NCIt UMLS RXNORM UNII ITIS_TSN"
CODING_SCHEMES = tuple(_SCHEMES.split())
"""Schemes whose codes may pass; a hospital's own could tell which hospital it is."""

_KEPT = """
    ImageType SOPClassUID StudyTime SeriesTime AcquisitionTime ContentTime Modality Manufacturer
    ManufacturerModelName PresentationIntentType VolumetricProperties
    VolumeBasedCalculationTechnique PixelPresentation ComplexImageComponent AcquisitionContrast
    ContentQualification ContrastBolusStartTime ContrastBolusStopTime ContrastBolusVolume
    ContrastBolusTotalDose ContrastFlowRate ContrastFlowDuration
    ContrastBolusIngredient ContrastBolusIngredientConcentration ContrastBolusIngredientOpaque
    ContrastBolusAgentNumber
    ContrastBolusAgentAdministered ContrastBolusAgentDetected ContrastBolusAgentPhase
    BodyPartExamined PatientPosition SliceThickness SpacingBetweenSlices KVP XRayTubeCurrent
    ExposureTime Exposure DataCollectionDiameter ReconstructionDiameter DistanceSourceToDetector
    DistanceSourceToPatient GantryDetectorTilt TableHeight RotationDirection FilterType
    GeneratorPower FocalSpots ConvolutionKernel SingleCollimationWidth TotalCollimationWidth
    TableSpeed TableFeedPerRotation SpiralPitchFactor ExposureModulationType CTDIvol RevolutionTime
    AcquisitionType ScanningSequence SequenceVariant ScanOptions MRAcquisitionType AngioFlag
    RepetitionTime EchoTime InversionTime NumberOfAverages ImagingFrequency ImagedNucleus
    EchoNumbers MagneticFieldStrength NumberOfPhaseEncodingSteps EchoTrainLength PercentSampling
    PercentPhaseFieldOfView PixelBandwidth FlipAngle VariableFlipAngleFlag AcquisitionMatrix
    InPlanePhaseEncodingDirection TriggerTime TemporalResolution EffectiveEchoTime DiffusionBValue
    DiffusionDirectionality FrameType AcquisitionDuration FrameAcquisitionDuration
    FrameAcquisitionNumber FrameReferenceTime SeriesNumber AcquisitionNumber InstanceNumber
    ImagePositionPatient ImageOrientationPatient SliceLocation TemporalPositionIdentifier
    NumberOfTemporalPositions TemporalPositionIndex TemporalPositionTimeOffset ImagesInAcquisition
    StackID InStackPositionNumber DimensionIndexValues DimensionIndexPointer FunctionalGroupPointer
    DimensionOrganizationType FrameLaterality SamplesPerPixel PhotometricInterpretation
    NumberOfFrames Rows Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation
    SmallestImagePixelValue LargestImagePixelValue PixelPaddingValue PixelPaddingRangeLimit
    BurnedInAnnotation RecognizableVisualFeatures WindowCenter WindowWidth RescaleIntercept
    RescaleSlope RescaleType LUTDescriptor LUTData ModalityLUTType VOILUTFunction
    PresentationLUTShape LossyImageCompression
    LossyImageCompressionRatio LossyImageCompressionMethod PixelData CodeValue
    CodingSchemeDesignator InConcatenationNumber InConcatenationTotalNumber
    ConcatenationFrameOffsetNumber
"""
_UIDS = (
    "SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID DimensionOrganizationUID"
    " ConcatenationUID"
)
_DATES = """
    StudyDate SeriesDate AcquisitionDate ContentDate AcquisitionDateTime FrameAcquisitionDateTime
    FrameReferenceDateTime
"""
_DESCRIPTORS = (
    "StudyDescription SeriesDescription ProtocolName ContrastBolusAgent ContrastBolusRoute"
    " SequenceName PulseSequenceName CodeMeaning PatientSpeciesDescription"
)
_ITEMS = """
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PlanePositionSequence
    PlaneOrientationSequence PixelMeasuresSequence PixelValueTransformationSequence
    FrameContentSequence FrameVOILUTSequence CTImageFrameTypeSequence MRImageFrameTypeSequence
    MREchoSequence MRTimingAndRelatedParametersSequence MRDiffusionSequence
    CTAcquisitionTypeSequence CTExposureSequence CTXRayDetailsSequence CTReconstructionSequence
    CTGeometrySequence TemporalPositionSequence DimensionOrganizationSequence DimensionIndexSequence
    ContrastBolusAgentSequence ContrastAdministrationProfileSequence ContrastBolusUsageSequence
    FrameAnatomySequence AnatomicRegionSequence PatientSpeciesCodeSequence ModalityLUTSequence
"""
_EMPTIED = (
    "AccessionNumber ReferringPhysicianName PatientBirthDate PatientSex StudyID"
    " PositionReferenceIndicator"
)

ALLOWED: dict[str, Action] = {
    keyword: action
    for action, keywords in (
        (Action.KEEP, _KEPT),
        (Action.UID, _UIDS),
        (Action.DATE, _DATES),
        (Action.WORDS, _DESCRIPTORS),
        (Action.ITEMS, _ITEMS),
        (Action.EMPTY, _EMPTIED),
    )
    for keyword in keywords.split()
}
"""What may stay, by DICOM keyword. The patient's name and number are replaced by a pseudonym beside
this table."""

_IDENTIFYING = """
    PatientName PatientID IssuerOfPatientID OtherPatientIDs OtherPatientNames PatientBirthName
    PatientMotherBirthName PatientBirthDate PatientAddress PatientTelephoneNumbers
    MedicalRecordLocator MilitaryRank AccessionNumber StudyID ReferringPhysicianName
    PhysiciansOfRecord PerformingPhysicianName NameOfPhysiciansReadingStudy OperatorsName
    RequestingPhysician RequestingService InstitutionName InstitutionAddress
    InstitutionalDepartmentName StationName DeviceSerialNumber PerformedProcedureStepID
    RequestedProcedureID ScheduledProcedureStepID AdmissionID PatientComments ImageComments
"""
IDENTIFYING = tuple(_IDENTIFYING.split())
"""Attributes whose words must not come back in a descriptor, even where they are in `WORDS` (a
patient may be called Vene)."""

_KNOWN = """
    a abd abdo abdom abdomen abdominal abdominale ac acid acq adrenal after agent ap applied art
    arteria arterial arteriale arteriel arteriell arterielle arterieller artery artirem avec ax axi
    axial axiale bas basale bez bh blade blanc blanco body bolus bone breath breathhold brightness
    btfe c cap care cc ce chest chol cholang clariscan computed con contr contrast contraste cor
    coronal coronale cp cs ct cta ctp day dce del delay delayed delta der derived diff diffusion
    disco disodium dixon dly dotarem dry dual dwi dyn dynamic dynamique e early eft elucirem
    enhanced enhancement entire eovist ep epi eq equil equilibre equilibrium ethrive excretory exp
    expiration f fase fast fat fatsat ff fiesta flair flash flex foie follow for free from
    fruehportal fruharteriell fs fse full g gad gadavist gadobenate gadobutrol gadodiamide
    gadolinium gadopentetate gadopiclenol gadoterate gadoteridol gadovist gadoxetate gadoxetic gd gr
    gre hap hasta haste hb hbp he head hepat hepatic hepatique hepatobil hepatobiliaire hepatobiliar
    hepatobiliary hepatocyte hepatospecific hold hr i ideal image images imeron in inj injection
    insp inspiration interstitial intravenous iobitridol iodinated iodine iodixanol iohexol iomeprol
    iomeron iop iopamidol iopromide ioversol ip iq isovue iv jejun k kidney kidneys km kontrast kv
    late lava leber left liver lliver loc localiser localizer long low lung m magnetic magnevist map
    mask max mdc mdixon mediastinum min mip mpr mr mrcp mri ms multi multihance multiphase muscle
    nach nativ native nativo nc ncct neck nect no non noncon noncontrast none normal not ns null o
    of ohne omnipaque omniraque omniscan on op opp opposed opt optiray oral out oxilan pancreas
    parenchym parenchyma parenchymal pas pdc pelvis per perfusion pha phas phase phases pl plain por
    port porta portal portale portalvenoes portalvenos portalvenous porto portoveineux portovenos
    portovenose portovenoso portovenous post postcontrast pre precontrast primovist prohance
    propeller pv pvp q quantum quick r re recon reg region renal resonance resp right routine s sag
    sagittal sans sat scan scout se sec seconds sek senza ser series shot sin single slice soft
    soustraction space spaet spaetarteriell spaetvenos spair spat spatarteriell spatportal spc spcir
    spec spezifisch spgr spir spleen ss ssfse standard star std stir stomach structure study sub
    subtraction supp survey t tardif tardio tardive tardivo te tf tfe tfl thick thin thins thorax
    thr thrive tir tissue tomography topogram topogramme tr tra trans transversal tri trig trigger
    triggered triphasic triphasique trufi trunk tse twist ultravist unenhanced upper v vein veine
    veineux ven vena veneuse venos venosa venoso venous vibe visipaque vueway w wash washin washout
    water wb whole with without wo wow xd xenetix артериальная венозная нативная отсроченная
    портальная 动脉期 動脈相 平扫 延迟期 肝胆期 門脈相 门静脉期
"""
WORDS = frozenset(_KNOWN.split())
"""Words of technique, phase, anatomy and contrast agent, lower case and without accents; a
descriptor keeps these and short numbers."""

_SPECIES = """
    bos boar bovine canine canis cat catus cattle cavia cow cuniculus dog domestic domestica
    domesticus equine equus familiaris fascicularis felis feline gerbil goat guinea hamster hircus
    homo horse human lupus macaca macaque monkey mouse mulatta murine mus musculus norvegicus
    oryctolagus ovis ovine pig porcine porcellus primate rabbit rat rats rattus sapiens scrofa sheep
    species sus swine aries capra caballus taurus
"""
_VENDORS = """
    agfa canon elscint fuji fujifilm ge general electric healthcare healthineers hitachi imaging
    marconi medical neusoft philips picker samsung shimadzu siemens systems toshiba united uih
    varian bruker mediso mr solutions
"""
_BODY_PARTS = """
    ankle arm breast brain cervix clavicle coccyx colon cspine ear elbow extremity eye face femur
    finger foot forearm hand heart hip humerus jaw jaws knee larynx leg lspine mandible neck orbit
    ovary prostate rectum rib sacrum shoulder skull spine sternum tibia toe trachea tspine uterus
    wholebody wrist
"""
VOCABULARIES: dict[str, frozenset[str]] = {
    "BodyPartExamined": frozenset(_BODY_PARTS.split()),
    "CodeMeaning": frozenset(_SPECIES.split()),
    "ImagedNucleus": frozenset(["1h", "3he", "7li", "13c", "19f", "23na", "31p", "129xe"]),
    "Manufacturer": frozenset(_VENDORS.split()),
    "PatientSpeciesDescription": frozenset(_SPECIES.split()),
    "RescaleType": frozenset(
        ["hu", "us", "od", "hu_mod", "ed", "pct", "mgml", "z_eff", "normalized", "signal"]
    ),
}
"""Words that say in one attribute what its value has to say, whatever the patient is called (a
patient may be called Hu, or Rat 7)."""

CODED = ("CodeValue", "CodingSchemeDesignator")
"""Attributes of type SH that people do not type into: codes of the `CODING_SCHEMES`."""
