"""An overview of a labelled data set for people: a page, thumbnails and a contact sheet."""
