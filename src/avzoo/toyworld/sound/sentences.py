"""Sentences from small grammars, one per language: text that reads like speech and means nothing in particular.

A grammar maps a name in capitals to its alternatives, separated by bars; a name inside an alternative is expanded in
turn. Phrases agree by construction: subjects are third person singular, objects stand in the case their verbs take.
"""

import re

import numpy as np

_ENGLISH = {
    "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|SUBJECT MOVES PLACE|TIME, SUBJECT
        VERB OBJECT|TIME, SUBJECT MOVES PLACE|SUBJECT ADVERB VERB OBJECT TIME|SUBJECT ADVERB VERB OBJECT|SUBJECT
        VERB OBJECT and PRONOUN MOVES PLACE|SUBJECT VERB OBJECT, but SUBJECT MOVES PLACE|SUBJECT is ADJECTIVE|
        SUBJECT is ADJECTIVE TIME|PRONOUN VERB OBJECT|PRONOUN MOVES PLACE because SUBJECT is ADJECTIVE|when SUBJECT
        VERB OBJECT, SUBJECT is ADJECTIVE|there is another NOUN PLACE|we WISH OBJECT|they WISH OBJECT TIME|you WISH
        OBJECT PLACE|DETERMINER NOUN costs NUMBER coins|SUBJECT VERB NUMBER PLURAL|I saw NUMBER PLURAL PLACE|nobody
        VERB OBJECT""",
    "SUBJECT": "DETERMINER PERSON|DETERMINER ADJECTIVE PERSON|NAME|the PERSON from TOWN|DETERMINER NOUN",
    "OBJECT": "the NOUN|the ADJECTIVE NOUN|my NOUN|this NOUN|another NOUN|some ADJECTIVE PLURAL|the PLURAL",
    "DETERMINER": "the|the|my|your|his|her|our|their|this|that|every|another",
    "PRONOUN": "he|she|it",
    "NAME": "Alice|Peter|Maria|Thomas|Susan|George|Oliver|Emma|Victor|Charlotte|Martin|Julia|Henry|Rose|Daniel|Grace",
    "TOWN": "London|Paris|Berlin|Chicago|Boston|Dublin|Vienna|Madrid|Oslo|Toronto",
    "PERSON": """teacher|doctor|farmer|neighbour|sister|brother|captain|baker|lawyer|student|painter|pilot|singer|
        grandmother|uncle|child|dog|cat|horse|robot|driver|nurse|judge|king|queen|manager|scientist|visitor|friend""",
    "NOUN": """book|window|garden|kitchen|machine|picture|letter|bicycle|mountain|river|question|answer|camera|
        pencil|table|chair|mirror|yellow house|bridge|newspaper|ticket|blanket|basket|suitcase|umbrella|orange|
        apple|cheese|sandwich|coffee|piano|guitar|candle|telephone|jacket|shoe|village|station|museum|engine|boat|
        ladder|secret|story|treasure|puzzle|measure|vision|hammer|feather|thumb|leaf|stone|cloud|bottle""",
    "PLURAL": """books|flowers|birds|apples|stories|letters|children|horses|bottles|pictures|questions|potatoes|
        wolves|boxes|shoes|keys|mountains|machines|cups|clouds|fish|sheep|teeth|judges|bridges""",
    "ADJECTIVE": """old|young|happy|quiet|clever|strange|beautiful|tired|friendly|green|purple|small|enormous|brave|
        careful|famous|hungry|lonely|gentle|rough|smooth|warm|cold|bright|heavy|wonderful|curious|ordinary|thirsty""",
    "VERB": """finds|opens|carries|paints|repairs|watches|remembers|sells|likes|needs|brings|describes|forgets|
        washes|follows|measures|builds|breaks|hides|draws|chooses|visits|moves|holds|catches|loves|studies|imagines|
        joins""",
    "WISH": "want|need|remember|know|found|lost|borrowed|enjoyed|would like|cannot see|never saw|always choose",
    "MOVES": """walks|runs|sits|waits|sleeps|sings|works|dances|laughs|stays|lives|plays|whispers|shouts|travels|
        reads|thinks|rests|swims|jumps|hurries home|arrives""",
    "ADVERB": "slowly|quickly|often|never|always|quietly|suddenly|usually|carefully|rarely|really|also|still",
    "PLACE": """in the kitchen|near the river|behind the church|on the bridge|at the station|under the tree|in the
        forest|beside the window|at school|on the beach|in front of the museum|across the street|by the fire|on the
        roof|between the houses|in the middle of the night|outside|upstairs|with a friend|without a word""",
    "TIME": """yesterday|tomorrow|today|this morning|every evening|on Monday|last Thursday|in the summer|after
        breakfast|before lunch|at noon|once a year|in September|two weeks ago|sometimes|on Wednesday|during the
        winter""",
    "NUMBER": "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|twenty|thirty|forty|a hundred",
    "SHORT": """hello|goodbye|yes|no|maybe|welcome|thanks|sorry|listen|wonderful|thank you|good morning|come in|wait
        there|not today|very well|of course""",
}
_GRAMMARS = {
    "en": _ENGLISH,
    "de": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME VERB SUBJECT OBJECT|SUBJECT
            VERB TIME OBJECT|SUBJECT MOVES PLACE|TIME MOVES SUBJECT PLACE|SUBJECT ist ADJECTIVE|SUBJECT ist heute
            sehr ADJECTIVE|VERB SUBJECT OBJECT nicht|SUBJECT VERB OBJECT und MOVES PLACE|SUBJECT MOVES PLACE, weil
            SUBJECT ADJECTIVE ist""",
        "SUBJECT": """der Lehrer|die Ärztin|das Mädchen|mein Bruder|meine Schwester|der alte Mann|die junge Frau|das
            kleine Kind|unser Nachbar|der Hund|die Katze|Johanna|Friedrich|der König""",
        "VERB": "sucht|findet|öffnet|verkauft|zeichnet|zeigt|braucht|wäscht|hört|trägt|liebt|versteckt|beschreibt",
        "OBJECT": """das Buch|den Schlüssel|die Tür|einen Apfel|das schöne Bild|den grünen Stuhl|die Geschichte|
            zwölf Vögel|das Frühstück|ein Fenster|die Brücke|viele Blumen|fünf Häuser""",
        "MOVES": "wartet|schläft|singt|arbeitet|tanzt|lacht|wohnt|spielt|bleibt|träumt",
        "PLACE": """in der Küche|auf der Straße|hinter dem Haus|am Bahnhof|im Wald|unter der Brücke|bei der Kirche|
            neben dem Fluss|zwischen den Bäumen""",
        "TIME": "heute|gestern|morgen|am Abend|im Frühling|jeden Tag|manchmal|nach dem Essen|um zwölf Uhr|im Januar",
        "ADJECTIVE": "müde|fröhlich|schön|ruhig|berühmt|hungrig|klug|vorsichtig|traurig|freundlich",
        "SHORT": "hallo|danke|ja|nein|vielleicht|natürlich|guten Morgen|bis bald|sehr schön|komm her",
    },
    "fr": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME, SUBJECT VERB OBJECT|SUBJECT
            MOVES PLACE|TIME, SUBJECT MOVES PLACE|SUBJECT VERB toujours OBJECT|SUBJECT ne VERB jamais OBJECT|SUBJECT
            MOVES et VERB OBJECT PLACE|SUBJECT MOVES parce que SUBJECT VERB OBJECT""",
        "SUBJECT": """le professeur|la boulangère|mon frère|ma sœur|la jeune fille|le vieux monsieur|notre voisin|le
            chien|la reine|un enfant|Camille|Jean|le peintre|une femme""",
        "VERB": "cherche|trouve|ouvre|dessine|regarde|porte|vend|mange|lave|raconte|choisit|oublie|prend",
        "OBJECT": """le livre|la fenêtre|un oiseau|une pomme|la petite maison|les fleurs|le grand chapeau|une
            histoire|trois feuilles|le bateau|la clé|un parapluie|du fromage""",
        "MOVES": "attend|dort|chante|travaille|danse|joue|habite|rêve|marche|reste",
        "PLACE": """dans la cuisine|sous le pont|devant la gare|près du fleuve|dans la rue|au marché|derrière la
            maison|chez le médecin|sur la montagne""",
        "TIME": "ce matin|demain|hier|en été|chaque jour|le soir|parfois|le dimanche|en février|après le dîner",
        "SHORT": "bonjour|merci|oui|non|bonsoir|peut-être|bien sûr|au revoir|très bien|entre donc",
    },
    "es": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME SUBJECT VERB OBJECT|SUBJECT
            MOVES PLACE|TIME SUBJECT MOVES PLACE|SUBJECT nunca VERB OBJECT|SUBJECT está STATE|SUBJECT VERB OBJECT y
            MOVES PLACE|SUBJECT MOVES porque SUBJECT VERB OBJECT|ya VERB OBJECT""",
        "SUBJECT": """el maestro|la doctora|mi hermano|la abuela|el niño|la niña pequeña|nuestro vecino|el viejo
            pescador|el perro|la reina|Jorge|Carmen|el ingeniero""",
        "VERB": "busca|encuentra|abre|vende|dibuja|lleva|compra|lava|recuerda|esconde|mira|escucha|rompe",
        "OBJECT": """el libro|la ventana|una manzana|el caballo blanco|la carta|tres pájaros|un zapato|la historia|
            las llaves|el jardín|una guitarra|los platos|el queso""",
        "MOVES": "espera|duerme|canta|trabaja|baila|juega|vive|sueña|descansa|camina",
        "PLACE": """en la cocina|cerca del río|delante de la iglesia|en la calle|bajo el puente|en la estación|junto
            al fuego|sobre la mesa|en el bosque""",
        "TIME": "hoy|mañana|ayer|por la noche|cada lunes|en invierno|a veces|esta tarde|en julio|después de comer",
        "STATE": "aquí|muy lejos|sin trabajo|de viaje|en casa|de pie",
        "SHORT": "hola|gracias|sí|no|quizás|adiós|buenos días|por favor|muy bien|ven aquí",
    },
    "it": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME SUBJECT VERB OBJECT|SUBJECT
            MOVES PLACE|TIME SUBJECT MOVES PLACE|SUBJECT non VERB mai OBJECT|SUBJECT MOVES e VERB OBJECT PLACE|
            SUBJECT MOVES perché SUBJECT VERB OBJECT|SUBJECT VERB sempre OBJECT""",
        "SUBJECT": """il maestro|la dottoressa|mio fratello|la nonna|il bambino|la ragazza|il vecchio pescatore|il
            cane|una signora|Giulia|Marco|il contadino|lo zio""",
        "VERB": "cerca|trova|apre|vende|disegna|porta|compra|lava|ricorda|nasconde|guarda|ascolta|sceglie",
        "OBJECT": """il libro|la finestra|una mela|il cavallo bianco|la lettera|tre uccelli|gli occhiali|la storia|
            le chiavi|il giardino|una chitarra|il formaggio|lo specchio""",
        "MOVES": "aspetta|dorme|canta|lavora|balla|gioca|vive|sogna|riposa|cammina",
        "PLACE": """in cucina|vicino al fiume|davanti alla chiesa|sulla spiaggia|sotto il ponte|alla stazione|
            accanto al fuoco|nel bosco|tra le case""",
        "TIME": "oggi|domani|ieri|ogni sera|in primavera|a volte|questa mattina|in luglio|dopo pranzo|il lunedì",
        "SHORT": "ciao|grazie|sì|no|forse|prego|buon giorno|va bene|molto bello|vieni qui",
    },
    "pt": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME SUBJECT VERB OBJECT|SUBJECT
            MOVES PLACE|TIME SUBJECT MOVES PLACE|SUBJECT nunca VERB OBJECT|SUBJECT MOVES e VERB OBJECT PLACE|SUBJECT
            MOVES porque SUBJECT VERB OBJECT""",
        "SUBJECT": """o professor|a médica|meu irmão|a avó|o menino|a moça|o velho pescador|o cachorro|nossa
            vizinha|João|Beatriz|o engenheiro|a rainha""",
        "VERB": "procura|encontra|abre|vende|desenha|leva|compra|lava|lembra|esconde|olha|escuta|escolhe",
        "OBJECT": """o livro|a janela|uma maçã|o cavalo branco|a carta|três pássaros|um sapato|a história|as chaves|
            o jardim|um violão|o queijo|o coração""",
        "MOVES": "espera|dorme|canta|trabalha|dança|brinca|mora|sonha|descansa|caminha",
        "PLACE": """na cozinha|perto do rio|em frente da igreja|na praia|debaixo da ponte|na estação|ao lado do
            fogo|no bosque|entre as casas""",
        "TIME": "hoje|amanhã|ontem|toda noite|no verão|às vezes|esta manhã|em julho|depois do almoço|na segunda-feira",
        "SHORT": "olá|obrigado|sim|não|talvez|tchau|bom dia|por favor|muito bem|vem cá",
    },
    "nl": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME VERB SUBJECT OBJECT|SUBJECT
            MOVES PLACE|TIME MOVES SUBJECT PLACE|SUBJECT is ADJECTIVE|SUBJECT VERB OBJECT en MOVES PLACE|SUBJECT
            VERB nooit OBJECT|SUBJECT MOVES omdat SUBJECT ADJECTIVE is""",
        "SUBJECT": """de leraar|het meisje|mijn broer|onze buurvrouw|de oude man|de jonge vrouw|het kind|de hond|de
            schipper|Willem|Saskia|de koning|de bakker""",
        "VERB": "zoekt|vindt|opent|verkoopt|tekent|draagt|koopt|wast|vergeet|verstopt|bekijkt|schrijft|breekt",
        "OBJECT": """het boek|het raam|een appel|het witte paard|de brief|drie vogels|een schoen|het verhaal|de
            sleutels|de tuin|het schip|de kaas|een huis""",
        "MOVES": "wacht|slaapt|zingt|werkt|danst|speelt|woont|droomt|lacht|blijft",
        "PLACE": """in de keuken|bij de rivier|voor de kerk|op straat|onder de brug|op het station|naast het vuur|in
            het bos|aan de gracht""",
        "TIME": "vandaag|morgen|gisteren|elke avond|in de lente|soms|vanmorgen|in juli|na het eten|op zondag",
        "ADJECTIVE": "moe|vrolijk|rustig|beroemd|hongerig|ziek|vriendelijk|bang|gelukkig",
        "SHORT": "hallo|dank|ja|nee|misschien|welkom|goede morgen|tot straks|heel mooi|kom hier",
    },
    "pl": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME SUBJECT VERB OBJECT|SUBJECT
            MOVES PLACE|TIME SUBJECT MOVES PLACE|SUBJECT MOVES i VERB OBJECT PLACE|SUBJECT często VERB OBJECT|
            SUBJECT MOVES, bo SUBJECT VERB OBJECT""",
        "SUBJECT": """nauczyciel|lekarka|mój brat|nasza babcia|stary rybak|młoda kobieta|dziecko|pies|sąsiadka|król|
            Katarzyna|Stanisław|dziewczyna""",
        "VERB": "widzi|znajduje|otwiera|sprzedaje|rysuje|niesie|kupuje|myje|pamięta|chowa|ogląda|wybiera|bierze",
        "OBJECT": """książkę|okno|jabłko|białego konia|długi list|trzy ptaki|but|tę historię|klucze|piękny ogród|
            zielony samochód|ser|chrząszcza""",
        "MOVES": "czeka|śpi|śpiewa|pracuje|tańczy|gra|mieszka|marzy|odpoczywa|stoi",
        "PLACE": "w kuchni|nad rzeką|przed kościołem|na ulicy|pod mostem|na dworcu|przy ogniu|w lesie|między domami",
        "TIME": "dzisiaj|jutro|wczoraj|każdego wieczoru|wiosną|czasami|rano|w lipcu|po obiedzie|w niedzielę",
        "SHORT": "cześć|dziękuję|tak|nie|może|proszę|dzień dobry|do widzenia|bardzo dobrze|chodź tu",
    },
    "sv": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME VERB SUBJECT OBJECT|SUBJECT
            MOVES PLACE|TIME MOVES SUBJECT PLACE|SUBJECT VERB OBJECT och MOVES PLACE|SUBJECT VERB aldrig OBJECT|
            SUBJECT MOVES eftersom SUBJECT VERB OBJECT""",
        "SUBJECT": """läraren|flickan|min bror|vår granne|den gamla mannen|den unga kvinnan|barnet|hunden|
            sjuksköterskan|kungen|Astrid|Gustav|fiskaren""",
        "VERB": "söker|hittar|öppnar|säljer|ritar|bär|köper|tvättar|glömmer|gömmer|tittar på|skriver|väljer",
        "OBJECT": """boken|fönstret|ett äpple|den vita hästen|brevet|tre fåglar|en sko|berättelsen|nycklarna|
            trädgården|båten|osten|sju sjömän""",
        "MOVES": "väntar|sover|sjunger|arbetar|dansar|leker|bor|drömmer|skrattar|stannar",
        "PLACE": """i köket|vid floden|framför kyrkan|på gatan|under bron|på stationen|bredvid elden|i skogen|mellan
            husen""",
        "TIME": "idag|imorgon|igår|varje kväll|på våren|ibland|i juli|efter maten|på söndag|klockan tolv",
        "SHORT": "hej|tack|ja|nej|kanske|välkommen|god morgon|hej då|mycket bra|kom hit",
    },
    "tr": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT OBJECT VERB|SUBJECT PLACE OBJECT VERB|TIME SUBJECT OBJECT VERB|SUBJECT
            PLACE MOVES|TIME SUBJECT PLACE MOVES|SUBJECT hemen OBJECT VERB|SUBJECT OBJECT VERB ve PLACE MOVES|
            SUBJECT MOVES, çünkü SUBJECT OBJECT VERB""",
        "SUBJECT": """öğretmen|küçük kız|kardeşim|komşumuz|yaşlı adam|genç kadın|çocuk|köpek|doktor|balıkçı|Ayşe|
            Mehmet|büyükannem""",
        "VERB": "arıyor|buluyor|açıyor|satıyor|çiziyor|taşıyor|alıyor|yıkıyor|unutuyor|saklıyor|görüyor|seçiyor",
        "OBJECT": """kitabı|pencereyi|elmayı|beyaz atı|mektubu|üç kuşu|ayakkabıyı|bu hikâyeyi|anahtarları|güzel
            bahçeyi|gemiyi|peyniri|evi""",
        "MOVES": "bekliyor|uyuyor|şarkı söylüyor|çalışıyor|dans ediyor|oynuyor|oturuyor|gülüyor|duruyor",
        "PLACE": """mutfakta|nehrin yanında|sokakta|köprünün altında|garda|ateşin başında|ormanda|evlerin arasında|
            denizde""",
        "TIME": "bugün|yarın|dün|her akşam|baharda|bazen|bu sabah|temmuzda|yemekten sonra|pazar günü",
        "SHORT": "merhaba|evet|hayır|belki|lütfen|peki|hoş geldin|çok güzel|buraya gel|günaydın",
    },
    "ru": {
        "SENTENCE": """SUBJECT MOVES|SUBJECT VERB OBJECT|SUBJECT VERB OBJECT PLACE|TIME SUBJECT VERB OBJECT|SUBJECT
            MOVES PLACE|TIME SUBJECT MOVES PLACE|SUBJECT часто VERB OBJECT|SUBJECT MOVES и VERB OBJECT PLACE|SUBJECT
            MOVES, потому что SUBJECT VERB OBJECT""",
        "SUBJECT": """учитель|девочка|мой брат|наша соседка|старый рыбак|молодая женщина|ребёнок|собака|врач|король|
            Наташа|Борис|бабушка""",
        "VERB": "ищет|находит|открывает|продаёт|рисует|несёт|покупает|моет|помнит|прячет|видит|выбирает",
        "OBJECT": """книгу|окно|яблоко|белую лошадь|письмо|три дерева|красный ботинок|эту историю|ключи|большой сад|
            лодку|сыр|дом""",
        "MOVES": "ждёт|спит|поёт|работает|танцует|играет|живёт|мечтает|отдыхает|стоит",
        "PLACE": "на кухне|у реки|перед церковью|на улице|под мостом|на вокзале|у костра|в лесу|между домами",
        "TIME": "сегодня|завтра|вчера|каждый вечер|весной|иногда|утром|в июле|после обеда|в воскресенье",
        "SHORT": "привет|спасибо|да|нет|наверное|пожалуйста|доброе утро|до встречи|очень хорошо|иди сюда",
    },
}
_RULES = {
    language: {name: [" ".join(phrase.split()) for phrase in text.split("|")] for name, text in grammar.items()}
    for language, grammar in _GRAMMARS.items()
}
LANGUAGES: tuple[str, ...] = tuple(_RULES)


def sentence(generator: np.random.Generator, language: str, num_words: int | None = None) -> str:
    """Something to say, with capitals and punctuation.

    Args:
        language: an espeak-ng code such as "en-us" or "pt-br"; what counts is the part before the hyphen, which must be
            one of `LANGUAGES`.
        num_words: exact number of blank-separated words. More than ten or so make several sentences, one or two an
            exclamation. None: one sentence.

    Raises:
        ValueError: a language without a grammar, or `num_words` below 1.
    """
    rules = _RULES.get(language.split("-")[0])
    if rules is None:
        raise ValueError(f"`language` must begin with one of {', '.join(LANGUAGES)}; got {language!r}.")
    if num_words is None:
        return _as_sentence(_expand(generator, rules, "SENTENCE"))
    if num_words < 1:
        raise ValueError(f"`num_words` must be 1 or more, got {num_words}.")
    sentences, left = [], num_words
    while left:
        text = _expand(generator, rules, "SENTENCE" if left > 2 else "SHORT")
        rest = left - len(text.split())
        if rest == 0 or rest > 2:  # what is left must make a sentence, too
            sentences.append(_as_sentence(text))
            left = rest
    return " ".join(sentences)


def _expand(generator: np.random.Generator, rules: dict[str, list[str]], name: str) -> str:
    phrases = rules[name]
    phrase = phrases[int(generator.integers(len(phrases)))]
    return re.sub("[A-Z]{4,}", lambda match: _expand(generator, rules, match.group()), phrase)


def _as_sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
