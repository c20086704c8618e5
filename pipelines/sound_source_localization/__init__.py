"""Sound source localization: where in a picture is what is heard?"""
