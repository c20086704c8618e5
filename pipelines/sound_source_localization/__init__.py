"""Sound source localization: a picture and a sound in, or a video; where in it what is heard is, if it is there."""
