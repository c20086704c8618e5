"""A program that can't import avzoo: it loads repositories by their names and runs what it got.

    python without_avzoo.py JOBS.pt ANSWERS.pt

JOBS is a list of dictionaries: `name` of the repository; `by` what it is loaded, an Auto class, "pipeline" or
"DiffusionPipeline"; `task` of a repository that serves several; `arguments` of the call. ANSWERS has, for each, the
module of the class and what the call gave, or the error.
"""

import sys
import traceback


class Absent:
    """Stands before all finders, so that avzoo is as if it was not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "avzoo":
            raise ModuleNotFoundError("No module named 'avzoo'", name="avzoo")


sys.meta_path.insert(0, Absent())

import diffusers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402


@torch.no_grad()
def run(job: dict) -> dict:
    loader, arguments = job["by"], job["arguments"]
    if loader == "pipeline":  # without a task: the repository tells it
        found = transformers.pipeline(job["task"], model=job["name"], trust_remote_code=True)
        return {"module": type(found).__module__, "answer": found(**arguments)}
    if loader == "DiffusionPipeline":
        found = diffusers.DiffusionPipeline.from_pretrained(job["name"], trust_remote_code=True)
        found.set_progress_bar_config(disable=True)
        answer = found(**arguments, generator=torch.Generator().manual_seed(0))
        return {"module": type(found).__module__, "answer": torch.as_tensor(answer.audios[0])}
    found = getattr(transformers, loader).from_pretrained(job["name"], trust_remote_code=True)
    answer = found.eval()(**arguments)
    return {"module": type(found).__module__, "answer": answer if torch.is_tensor(answer) else dict(answer)}


if __name__ == "__main__":
    answers = []
    for job in torch.load(sys.argv[1], weights_only=False):
        try:
            answers.append(run(job))
        except Exception:
            answers.append({"error": traceback.format_exc()})
    torch.save(answers, sys.argv[2])
