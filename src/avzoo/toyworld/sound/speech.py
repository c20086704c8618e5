"""Speech clips: espeak-ng in many languages, speakers and moods, roughened towards human voices."""

import numpy as np

from . import synthesis as syn
from .espeak import speak

# Words, not sentences: order is drawn. Spelling is enough, the synthesiser has no sense of meaning.
WORDS = {
    "en-us": """the a of and to in is you that it he was for on are with they at be this have from or one had by word
        but not what all were we when your can said there use an each which she do how their if will up other about out
        many then them these so some her would make like him into time has look two more write go see number no way
        could people my than first water been call who oil its now find long down day did get come made may part front
        center left right rear side yes stop hello morning thank please window mother father children thought school
        question answer kitchen weather yesterday tomorrow seventy thirteen zero five nine three million music picture
        river mountain beautiful machine learning voice speaker garden orange yellow purple friend brother jumping
        quickly wonderful never always something nothing strange bridge church judge measure vision singing thinking
        youth joyful choice boy toy house mouse now fire hour chair fear pure""",
    "de": """der die das und ist nicht ich wir sie haben heute morgen wasser zeit straße schön über zwischen zwanzig
        fünf acht mädchen junge fenster küche sprechen hören wirklich vielleicht entschuldigung bitte danke guten abend
        geschichte universität freundschaft""",
    "fr-fr": """le la les un une et est nous vous ils avons aujourd'hui demain eau temps rue bonjour merci beaucoup
        toujours jamais quelque chose enfant fenêtre cuisine parler écouter vraiment peut-être oiseau feuille grand
        petit maison printemps jeune homme""",
    "es": """el la los un una y es nosotros ustedes tenemos hoy mañana agua tiempo calle buenos días gracias siempre
        nunca alguna cosa niño ventana cocina hablar escuchar quizás pájaro perro ferrocarril grande pequeño casa
        primavera corazón""",
    "it": """il lo la gli e sono noi abbiamo oggi domani acqua tempo strada buongiorno grazie sempre mai qualche cosa
        bambino finestra cucina parlare ascoltare forse uccello famiglia grande piccolo casa primavera cuore""",
    "pt-br": """o a os um uma e nós vocês temos hoje amanhã água tempo rua bom dia obrigado sempre nunca alguma coisa
        criança janela cozinha falar escutar talvez pássaro cachorro grande pequeno casa coração não são""",
    "nl": """de het een en is niet ik wij hebben vandaag morgen water tijd straat goedemorgen dank altijd nooit iets
        kind venster keuken spreken luisteren misschien vogel groot klein huis vriendschap gracht schip""",
    "pl": """i jest nie my mamy dzisiaj jutro woda czas ulica dzień dobry dziękuję zawsze nigdy coś dziecko okno
        kuchnia mówić słuchać może ptak duży mały dom wiosna serce chrząszcz brzmi w trzcinie""",
    "sv": """och är inte jag vi har idag imorgon vatten tid gata god morgon tack alltid aldrig något barn fönster kök
        tala lyssna kanske fågel stor liten hus vår hjärta sjuksköterska""",
    "tr": """ve bir bu değil ben biz var bugün yarın su zaman sokak günaydın teşekkür her zaman asla şey çocuk pencere
        mutfak konuşmak dinlemek belki kuş büyük küçük ev bahar yürek""",
    "ru": """и это не я мы есть сегодня завтра вода время улица доброе утро спасибо всегда никогда что-то ребёнок окно
        кухня говорить слушать может быть птица большой маленький дом весна сердце здравствуйте""",
    "cmn-latn-pinyin": """ni3 hao3 wo3 men5 shi4 bu4 jin1 tian1 ming2 shui3 shi2 jian1 jie1 zao3 shang4 xie4 xie5 zong3
        cong2 hai2 zi5 chuang1 chu2 fang2 shuo1 hua4 ting1 ke3 neng2 niao3 da4 xiao3 jia1 chun1 xin1""",
    "sw": """na ni si mimi sisi leo kesho maji wakati barabara habari asante daima kamwe kitu mtoto dirisha jikoni sema
        sikiliza labda ndege kubwa ndogo nyumba moyo""",
}
# Further voices that read the Latin-script words above with their own sounds.
ACCENTS = """en-us en-gb en-gb-scotland en-gb-x-rp en-us-nyc en-gb-x-gbcwmd en-029 af da nb fi is et hu cs sk hr ro ca
    cy ga eu lt lv sl id ms vi mt sq eo ht"""
# Speakers that sound like people; the robots and demons of the list are left out.
VARIANTS = """f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo
    Jacky Lee Marco Mario Michael Mike Nguyen Reed Storm adam anika antonio aunty belinda benjamin boris caleb david ed
    edward edward2 gustave ian iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt3 klatt4 klatt5 klatt6 linda
    marcelo max michel miguel mike2 norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 steph3 travis
    victor zac"""

_ONSETS = "p b t d k g m n f v s sh ch j l r w y h th st tr pl gr br sk fl sw"
_VOWELS = "a e i o u ee oo ai oa ou"
_CODAS = ["", "", "", "n", "s", "t", "l", "r", "m", "k", "nd", "st"]


def _pick(generator: syn.Generator, words: str) -> str:
    """One of the words that a blank separates."""
    return str(generator.choice(words.split()))


def _invent_word(generator: syn.Generator) -> str:
    syllables = generator.integers(1, 4)
    return "".join(
        _pick(generator, _ONSETS) + _pick(generator, _VOWELS) + str(generator.choice(_CODAS)) for _ in range(syllables)
    )


def random_sentence(generator: syn.Generator, num_words: int) -> tuple[str, str]:
    """(voice, text): real words of one language, or of one language in the accent of another, or made-up words."""
    language = "en-us" if generator.random() < 0.4 else str(generator.choice(list(WORDS)))
    words = WORDS[language].split()
    kind = generator.random()
    if kind < 0.3:
        text = [_invent_word(generator) for _ in range(num_words)]
        voice = _pick(generator, ACCENTS)
    else:
        text = [str(word) for word in generator.choice(words, num_words)]
        voice = language
        if kind < 0.6 and language not in ("ru", "cmn-latn-pinyin"):
            voice = _pick(generator, ACCENTS)
    for position in range(num_words - 1):
        if generator.random() < 0.2:
            text[position] += ","  # a pause
    return voice, " ".join(text) + str(generator.choice([".", ".", "?", "!"]))


def _humanise(voice: np.ndarray, rate: int, generator: syn.Generator) -> np.ndarray:
    """Unsteady pitch, breath, another vocal tract: what formant synthesis lacks."""
    # 1. Uneven time: slow drift of speed and pitch, and the jitter of real vocal folds.
    drift = generator.uniform(0, 0.04) * syn.slow_curve(generator, len(voice), rate, 2.0)
    jitter = generator.uniform(0, 0.012) * syn.slow_curve(generator, len(voice), rate, 60.0)
    position = np.cumsum(np.clip(1 + drift + jitter, 0.7, 1.4))
    voice = np.interp(position[position < len(voice) - 1], np.arange(len(voice)), voice)
    # 2. Shimmer: loudness that wavers.
    shimmer = generator.uniform(0, 2.0) * syn.slow_curve(generator, len(voice), rate, 30.0)
    phrasing = generator.uniform(0, 3.0) * syn.slow_curve(generator, len(voice), rate, 1.5)
    voice = voice * syn.decibels_to_gain(shimmer + phrasing)
    # 3. Breath: the same words whispered, mostly above 1 kHz.
    if generator.random() < 0.8:
        breath = _whisper(voice, generator)
        corner = generator.uniform(300, 3000)
        breath = syn.shape_spectrum(breath, rate, lambda f: syn.high_pass_gain(f, corner, 1))
        level = syn.decibels_to_gain(generator.uniform(-30, -6))
        voice = voice + breath * level * syn.root_mean_square(voice) / max(syn.root_mean_square(breath), 1e-9)
    # 4. Another vocal tract: valleys and peaks a third of an octave wide, and a spectral tilt.
    colour = syn.random_equaliser(generator, generator.uniform(1, 6), 3)
    tilt = generator.uniform(-1.2, 0.4)
    return syn.shape_spectrum(voice, rate, lambda f: colour(f) * (np.maximum(f, 100) / 500) ** tilt)


def _whisper(voice: np.ndarray, generator: syn.Generator, size: int = 512) -> np.ndarray:
    """Noise with the spectral envelope of `voice`, frame by frame."""
    hop = size // 2
    padded = np.pad(voice, (hop, 2 * size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size)
    magnitude = np.abs(np.fft.rfft(frames * window))
    smooth = np.cumsum(np.pad(magnitude, ((0, 0), (9, 9)), mode="edge"), axis=1)
    magnitude = (smooth[:, 18:] - smooth[:, :-18]) / 18  # 18 bins are wider than any harmonic gap
    phases = generator.uniform(0, 2 * np.pi, magnitude.shape)
    frames = np.fft.irfft(magnitude * np.exp(1j * phases), size) * window
    result = np.zeros(len(frames) * hop + size)
    result[: len(frames) * hop] += frames[:, :hop].ravel()
    result[hop : hop + len(frames) * hop] += frames[:, hop:].ravel()
    return result[hop : hop + len(voice)]


def utterance(
    generator: syn.Generator, num_words: int, sampling_rate: int, at_most_seconds: float = float("inf")
) -> np.ndarray:
    """One person says `num_words` words, silence trimmed at both ends; of a longer talk a piece from anywhere."""
    voice, text = random_sentence(generator, num_words)
    variant = None if generator.random() < 0.15 else _pick(generator, VARIANTS)
    samples, rate = speak(
        text,
        voice,
        variant,
        rate_wpm=int(generator.integers(85, 270)),
        pitch=int(generator.integers(15, 90)),
        pitch_range=int(generator.integers(15, 95)),
    )
    samples = _trim(samples.astype(np.float64), rate)
    # 1.35: it may be played faster below. Cut first, the rest is the expensive part.
    longest = min(len(samples), int(min(at_most_seconds, 1e5) * 1.35 * rate))
    start = int(generator.integers(0, len(samples) - longest + 1))
    samples = samples[start : start + longest]
    samples = _humanise(samples, rate, generator)
    # Played at another speed, the vocal tract shrinks or grows along with the pitch: children and giants.
    return syn.resample(samples, rate * float(generator.uniform(0.8, 1.25)), sampling_rate)


def _trim(samples: np.ndarray, rate: int) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.max(np.abs(samples), initial=1e-9))
    if len(loud) == 0:
        return samples
    return samples[max(loud[0] - rate // 100, 0) : loud[-1] + rate // 50]


def speech(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Up to `num_samples` of speech: a word or two, a piece of a longer talk, or several people in turn."""
    seconds = num_samples / sampling_rate
    kind = generator.random()
    if kind < 0.35:  # a short phrase with quiet around it
        return utterance(generator, int(generator.integers(1, 4)), sampling_rate)[:num_samples]
    if kind < 0.85:  # talk that began before the recording and goes on after it
        return utterance(generator, int(seconds * 4) + 3, sampling_rate, seconds)[:num_samples]
    turns, total = [], 0
    while total < num_samples:
        turn = utterance(generator, int(generator.integers(1, 4)), sampling_rate)
        turn = turn * syn.decibels_to_gain(generator.uniform(-8, 0)) / max(syn.root_mean_square(turn), 1e-9)
        pause = np.zeros(int(generator.uniform(0.05, 0.5) * sampling_rate))
        turns += [turn, pause]
        total += len(turn) + len(pause)
    return np.concatenate(turns)[:num_samples]
