"""One file per method or component; each holds its `ROW`."""

from avzoo.zoo.row import Row

from . import (
    acl_ssl,
    avdiffuss,
    beats,
    coarse_to_fine_ast,
    flexiast,
    hifigan,
    ltbs,
    mtdvocalist,
    s3fd,
    session_embedding,
    slowfast_cslr,
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
    acl_ssl.ROW,
    slowfast_cslr.ROW,
    ltbs.ROW,
)
COMPONENTS: tuple[Row, ...] = (s3fd.ROW, beats.ROW, hifigan.ROW)
