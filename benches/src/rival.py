"""HyperQueue for the throughput measurement: a server and a worker on loopback, told on standard input how many
tasks of `true` to run, and answering with the seconds from their submission to the end of the last.

Its own wait looks once a second. Here the end is seen by a file that one more task makes after all the others.
"""

import pathlib
import sys
import tempfile
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

cores = int(sys.argv[1])
with tempfile.TemporaryDirectory() as folder, LocalCluster(folder, WorkerConfig(cores=cores)) as cluster:
    client = cluster.client()
    done = pathlib.Path(folder, "done")
    for line in sys.stdin:
        done.unlink(missing_ok=True)
        job = Job()
        tasks = [job.program(["true"], stdout=None, stderr=None) for _ in range(int(line))]
        job.program(["touch", str(done)], stdout=None, stderr=None, deps=tasks)
        begun = time.perf_counter()
        client.submit(job)
        while not done.exists():
            time.sleep(0.002)
        print(time.perf_counter() - begun, flush=True)
