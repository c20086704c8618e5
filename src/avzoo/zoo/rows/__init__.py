"""One file per method or component; each holds its `ROW`."""

from avzoo.zoo.row import Row

from . import (
    avdiffuss,
    coarse_to_fine_ast,
    flexiast,
    mtdvocalist,
    s3fd,
    session_embedding,
    ssl_alignment,
    talknce,
    voiceldm,
)

# In the order in which lists show them. The first method of a task gives `avzoo run` its default model.
METHODS: tuple[Row, ...] = (
    flexiast.ROW,
    coarse_to_fine_ast.ROW,
    mtdvocalist.ROW,
    voiceldm.ROW,
    avdiffuss.ROW,
    talknce.ROW,
    session_embedding.ROW,
    ssl_alignment.ROW,
)
COMPONENTS: tuple[Row, ...] = (s3fd.ROW,)
