"""The colours of figures: the colour-blind safe palette of Okabe and Ito, without matplotlib."""

BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8a8a8a", "#222222"
PURPLE, SKY = "#CC79A7", "#56B4E9"
PALE = "#d4d4d4"
