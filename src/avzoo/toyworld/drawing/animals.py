"""Animals, drawn: each has a look of its own every time. See `objects.py`."""

from .canvas import Canvas, Generator, mix_colours, shade
from .parts import DARK, Paint, eye, part_colours


def dog(generator: Generator) -> Paint:
    """Floppy ears and a long snout: the face, or the animal from the side."""
    fur, accent, collar = part_colours(generator, 3)
    light = shade(fur, generator.uniform(0.25, 0.5))
    ear = accent if generator.random() < 0.5 else shade(fur, -0.35)
    broad, long = generator.uniform(0.85, 1.1, 2)
    tongue, with_collar, spotted = generator.random(3) < 0.5
    tail = generator.uniform(-0.75, -0.2)

    def face(canvas: Canvas) -> None:
        canvas.ellipse((0, -0.1), (0.6 * broad, 0.68), fur)
        if spotted:
            canvas.ellipse((0.27 * broad, -0.25), (0.24, 0.3), shade(fur, -0.3))
        for side in (-1, 1):
            edge = [(0.35, -0.72), (0.7, -0.7), (0.95, 0.1 * long), (0.8, 0.42 * long), (0.58, 0.1)]
            canvas.polygon([(side * x * broad, y) for x, y in edge], ear, smooth=True)
            eye(canvas, (side * 0.25 * broad, -0.25), 0.11)
        if tongue:
            canvas.ellipse((0.05, 0.75), (0.13, 0.22), (225, 95, 110))
        canvas.ellipse((0, 0.38), (0.36, 0.34 * long), light)
        canvas.ellipse((0, 0.17), (0.17, 0.12), DARK)
        canvas.line([(0, 0.2), (0, 0.45)], 0.05, DARK)
        canvas.arc((0, 0.35), (0.22, 0.18), 20, 160, 0.05, DARK)

    def side(canvas: Canvas) -> None:
        canvas.line([(-0.6, 0), (-0.85, tail + 0.25), (-0.88, tail)], [0.14, 0.12, 0.06], fur, smooth=True)
        for x in (-0.55, 0.3):
            canvas.line([(x + 0.12, 0.2), (x + 0.16, 0.85)], 0.13, shade(fur, -0.25))
        canvas.line([(-0.5, 0.08), (0.3, 0.02)], [0.52 * broad, 0.58 * broad], fur)
        if spotted:
            canvas.ellipse((-0.2, -0.02), (0.2, 0.15), ear)
        for x in (-0.55, 0.3):
            canvas.line([(x, 0.2), (x - 0.03, 0.88), (x + 0.06, 0.9)], 0.14, fur)
        canvas.line([(0.35, 0.0), (0.55, -0.35)], [0.45, 0.32], fur)
        if with_collar:
            canvas.line([(0.3, -0.2), (0.6, -0.08)], 0.09, collar)
        canvas.line([(0.6, -0.42), (0.6 + 0.33 * long, -0.33)], [0.2, 0.18], light)
        canvas.ellipse((0.55, -0.47), (0.26, 0.25), fur)
        canvas.ellipse((0.62 + 0.37 * long, -0.38), 0.07, DARK)
        canvas.polygon([(0.42, -0.66), (0.3, -0.4), (0.33, -0.12), (0.47, -0.12), (0.53, -0.45)], ear, smooth=True)
        eye(canvas, (0.66, -0.55), 0.06)

    return face if generator.random() < 0.45 else side


def cat(generator: Generator) -> Paint:
    """Pointed ears, whiskers, slit eyes: the face, or sitting with its tail."""
    fur, accent, iris = part_colours(generator, 3)
    stripe = accent if generator.random() < 0.4 else shade(fur, -0.35)
    round_, ear = generator.uniform(0.9, 1.1), generator.uniform(0.85, 1.15)
    striped, curl = generator.random() < 0.6, generator.uniform(-0.3, 0.2)
    whisker = mix_colours(fur, (255, 255, 255) if sum(fur) < 380 else DARK, 0.8)

    def head(canvas: Canvas) -> None:  # a face of radius 1
        for side in (-1, 1):
            tip = (side * 0.85, -1.35 * ear)
            canvas.polygon([(side * 0.95, -0.2), tip, (side * 0.2, -0.75)], fur)
            canvas.polygon([(side * 0.82, -0.45), (side * 0.78, -1.1 * ear), (side * 0.4, -0.7)], (235, 160, 165))
        canvas.ellipse((0, 0), (1.0 * round_, 0.85), fur)
        if striped:
            for x in (-0.25, 0, 0.25):
                canvas.line([(x, -0.8), (x * 0.8, -0.5)], 0.1, stripe)
        for side in (-1, 1):
            canvas.ellipse((side * 0.42, -0.12), (0.22, 0.17), shade(iris, 0.3))
            canvas.ellipse((side * 0.42, -0.12), (0.06, 0.16), DARK)
            for slope in (-0.12, 0.05, 0.22):
                canvas.line([(side * 0.3, 0.32), (side * 1.25, 0.3 + slope)], 0.045, whisker)
            canvas.arc((side * 0.13, 0.36), (0.14, 0.15), 10, 170, 0.06, DARK)
        canvas.polygon([(-0.12, 0.2), (0.12, 0.2), (0, 0.35)], (225, 110, 125))

    def sitting(canvas: Canvas) -> None:
        tail = [(0.3, 0.8), (0.75, 0.75), (0.85, 0.25), (0.6 + curl, -0.1)]
        canvas.line(tail, [0.17, 0.17, 0.15, 0.1], fur, smooth=True)
        if striped:
            canvas.line([(0.74, 0.5), (0.9, 0.52)], 0.09, stripe)
        outline = [(-0.22, -0.25), (0.22, -0.25), (0.42, 0.3), (0.5, 0.85), (-0.5, 0.85), (-0.42, 0.3)]
        canvas.polygon(outline, fur, smooth=True)
        if striped:
            for y in (0.1, 0.3):
                for side in (-1, 1):
                    canvas.line([(side * 0.36, y), (side * 0.2, y + 0.05)], 0.07, stripe)
        for x in (-0.13, 0.13):
            canvas.line([(x, 0.3), (x, 0.85)], 0.17, shade(fur, 0.25))
        head(canvas.at((0, -0.4), scale=0.4))

    def face(canvas: Canvas) -> None:
        head(canvas.at((0, 0.2), scale=0.76))

    return face if generator.random() < 0.45 else sitting


def bird(generator: Generator) -> Paint:
    """Beak, wing, tail feathers, thin legs; from the side."""
    plumage, wing, beak = part_colours(generator, 3)
    belly = shade(plumage, generator.uniform(0.1, 0.6))
    tilt, plump, tail = generator.uniform(-28, 5), generator.uniform(0.85, 1.15), generator.uniform(0.8, 1.2)
    crest, perch, raised = generator.random(3) < (0.35, 0.5, 0.3)
    bill = generator.uniform(0.8, 1.4)

    def paint(canvas: Canvas) -> None:
        if perch:
            canvas.line([(-0.9, 0.86), (0.9, 0.78)], 0.11, (110, 80, 55))
        for x in (-0.05, 0.15):
            canvas.line([(x, 0.4), (x + 0.03, 0.8), (x + 0.15, 0.84)], 0.045, shade(beak, -0.3))
        body = canvas.at((0, 0.1), angle=tilt)
        edge = [(-0.45, -0.12), (-0.98 * tail, -0.2), (-1.02 * tail, 0.02), (-0.93 * tail, 0.16), (-0.4, 0.2)]
        body.polygon(edge, shade(wing, -0.2))
        body.ellipse((0, 0), (0.6, 0.42 * plump), plumage)
        body.ellipse((0.12, 0.14), (0.4, 0.26 * plump), belly)
        if raised:
            flight = [(0.2, -0.1), (-0.05, -0.85), (-0.3, -0.95), (-0.35, -0.6), (-0.4, 0.0), (-0.1, 0.1)]
        else:
            flight = [(0.25, -0.15), (-0.1, -0.25), (-0.75, 0.05), (-0.35, 0.2), (0.1, 0.18)]
        body.polygon(flight, wing, smooth=True)
        for shift in (0, 0.1) if not raised else ():
            body.line([(-0.1, 0.08 - shift), (-0.45, 0.1 - shift)], 0.035, shade(wing, -0.35))
        head = canvas.at((0.46, -0.4))
        if crest:
            head.line([(-0.05, -0.2), (-0.2, -0.45), (-0.35, -0.5)], [0.15, 0.1, 0.04], wing)
        head.polygon([(0.2, -0.1), (0.2 + 0.33 * bill, 0.05), (0.2, 0.14)], beak)
        head.ellipse((0, 0), 0.29, plumage)
        eye(head, (0.09, -0.06), 0.075)

    return paint


def frog(generator: Generator) -> Paint:
    """Seen from the front: a wide mouth, eyes on top of the head, folded legs."""
    skin, spots = part_colours(generator, 2)
    belly = shade(skin, generator.uniform(0.25, 0.6))
    wide, eyes = generator.uniform(0.9, 1.1), generator.uniform(0.16, 0.24)
    spotted, throat = generator.random(2) < 0.5
    places = generator.uniform(-1, 1, (5, 2)) * (0.45, 0.12) + (0, -0.28)

    def paint(canvas: Canvas) -> None:
        for side in (-1, 1):
            canvas.ellipse((side * 0.62 * wide, 0.42), (0.3, 0.36), shade(skin, -0.2), angle=side * 25)
            for spread in (-0.16, 0.0, 0.16):
                canvas.line([(side * 0.68, 0.72), (side * 0.75 + spread, 0.86)], [0.1, 0.09], shade(skin, -0.2))
        canvas.ellipse((0, 0.35), (0.58 * wide, 0.5), skin)
        canvas.ellipse((0, 0.42), (0.4 * wide, 0.4), belly)
        for side in (-1, 1):
            canvas.line([(side * 0.4, 0.25), (side * 0.3, 0.8)], [0.2, 0.13], skin)
            for spread in (-0.12, 0.0, 0.12):
                canvas.line([(side * 0.3, 0.8), (side * 0.3 + spread, 0.9)], 0.075, skin)
            canvas.ellipse((side * 0.4 * wide, -0.52), eyes + 0.06, skin)
        canvas.ellipse((0, -0.18), (0.72 * wide, 0.42), skin)
        if throat:
            canvas.ellipse((0, 0.15), (0.38, 0.24), shade(belly, 0.3))
        for place in places if spotted else ():
            canvas.ellipse(tuple(place), 0.07, spots)
        for side in (-1, 1):
            canvas.ellipse((side * 0.4 * wide, -0.54), eyes, (250, 245, 215))
            canvas.ellipse((side * 0.4 * wide, -0.52), (0.7 * eyes, 0.42 * eyes), DARK)
            canvas.ellipse((side * 0.1, -0.2), 0.03, DARK)
        canvas.arc((0, -0.22), (0.58 * wide, 0.3), 12, 168, 0.055, DARK)

    return paint
