"""How well contrast phases are identified as headers go missing."""
