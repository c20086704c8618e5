"""Speaker verification: two recordings, one person? And who of the enrolled people speaks, when?"""
