"""Readers of public data sets in the layout their owners ship, a file per data set.

- [`avzoo.data.asw`]: ASW, who speaks in the videos of VoxConverse.
- [`avzoo.data.audioset`], [`avzoo.data.esc50`], [`avzoo.data.speech_commands`], [`avzoo.data.vggsound`]: labelled
  recordings; [`avzoo.data.audio_tagging`] reads them for training, and your own by [`avzoo.data.own_recordings`].
- [`avzoo.data.ava_active_speaker`]: AVA-ActiveSpeaker, Google's tables and the faces and sounds cut out by them.
- [`avzoo.data.grid`], [`avzoo.data.lip2wav`]: videos of speakers for lip to speech.
- [`avzoo.data.image_sound_clips`]: a picture and a sound of each clip: VGGSound and Flickr-SoundNet with their frames,
  your own tables and videos.
- [`avzoo.data.lrs2`]: LRS2, the owners' mp4 files or the folders of faces that Wav2Lip's script makes of them.
- [`avzoo.data.lrs3`], [`avzoo.data.voxceleb2`]: face videos of utterances; [`avzoo.data.separation_pairs`] are the
  official test pairs of both.
- [`avzoo.data.vggss`], [`avzoo.data.flickr_soundnet`], [`avzoo.data.is3`], [`avzoo.data.avsbench`], [`avzoo.data.vpo`]:
  pictures, sounds and where they come from; [`avzoo.data.localization_samples`] is what their rows hold.
- [`avzoo.data.voxceleb`]: utterances of VoxCeleb1 and 2 with speakers and sessions; [`avzoo.data.trial_lists`]: trials
  of speaker verification in three formats; [`avzoo.data.kaldi_lists`]: `wav.scp` and `utt2spk`.
- [`avzoo.data.phoenix14`], [`avzoo.data.phoenix14t`], [`avzoo.data.csl_daily`], and your own by
  [`avzoo.data.own_signs`]: sentences of signing; [`avzoo.data.sign_sentences`] is what their rows hold,
  [`avzoo.data.gloss_vocabulary`] numbers their glosses.
- [`avzoo.data.musan`]: noises and simulated room responses for augmentation.
- [`avzoo.data.speaker_folders`]: your own face videos of utterances.
- [`avzoo.data.voiceldm_lists`]: the lists of speech and noise of VoiceLDM's authors.

Importing this package loads neither torch nor datasets.
"""
