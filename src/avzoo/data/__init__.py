"""Data: readers of the public datasets' on-disk layouts, and a synthetic world that needs no download.

- [`avzoo.data.asw`]: ASW, who speaks in the videos of VoxConverse.
- [`avzoo.data.audio_folders`]: ESC-50, Speech Commands, AudioSet and VGGSound as their owners ship them.
- [`avzoo.data.ava_active_speaker`]: AVA-ActiveSpeaker, Google's tables and the faces and sounds cut out by them.
- [`avzoo.data.lrs2`]: LRS2, the owners' mp4 files or the folders of faces that Wav2Lip's script makes of them.
- [`avzoo.toyworld`]: labelled speech and sound made from nothing but a seed.

Importing this package loads neither torch nor datasets.
"""
