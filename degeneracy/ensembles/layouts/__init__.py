"""Parameters of networks made elsewhere: by their names and the order of their axes in this package and in others."""
