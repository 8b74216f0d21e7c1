//! What the tests of whole processes share: scripts that trials run, and a sweep that can be disturbed. Plain shell: a trial
//! starts within a millisecond, and nothing has to be installed.

use heats_testkit::{Audit, Expected, Workspace};

/// Measures three steps of a parabola over the whole number `x`, notes each in the side file before it
/// reports it, and takes a moment for each.
pub const PARABOLA: &str = r#"
step=0
while [ "$step" -lt 3 ]; do
  step=$((step + 1))
  loss=$(((HEATS_PARAM_X - 500) * (HEATS_PARAM_X - 500) + 100 / step))
  echo "$HEATS_TRIAL $HEATS_ATTEMPT $step $loss" >> "$MEASURED"
  echo "::metric step=$step loss=$loss"
  sleep 0.04
done
"#;

/// The same measurement, done once the file `go` is there: the test decides when a trial goes on.
pub const WAITS_FOR_GO: &str = r#"
loss=$((HEATS_PARAM_X + 1))
echo "$HEATS_TRIAL $HEATS_ATTEMPT 1 $loss" >> "$MEASURED"
echo "::metric step=1 loss=$loss"
until [ -e go ]; do sleep 0.02; done
loss=$HEATS_PARAM_X
echo "$HEATS_TRIAL $HEATS_ATTEMPT 2 $loss" >> "$MEASURED"
echo "::metric step=2 loss=$loss"
"#;

/// The ports at which a test's own gangs meet, as `HEATS_GANG_PORTS` says it: the clusters of other tests are on this machine too.
pub fn gang_ports() -> String {
    const PORTS: u32 = 64;
    let first = 20_000 + std::process::id() % 200 * PORTS;
    format!("{first}-{}", first + PORTS - 1)
}

/// One process of a trial that spans machines. Each has the gradient of its own part of the data; they add them up over a plain
/// socket, in four steps. All report, and only what rank 0 says counts. The first attempt of a trial waits in its third step
/// while there is a file `hold`.
pub const MEETS: &str = r#"
import os, pathlib, socket, struct, sys, time
import heats

rank, size, lr = int(os.environ["NODE_RANK"]), int(os.environ["WORLD_SIZE"]), float(sys.argv[1])
meets_at = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
here = pathlib.Path(__file__).parent

def note(text):
    with open(here / "notes.txt", "a") as notes:
        trial, attempt = os.environ["HEATS_TRIAL"], os.environ["HEATS_ATTEMPT"]
        notes.write(f"{trial}@{attempt} {rank} {text}\n")

def receive(peer):
    data = b""
    while len(data) < 8:
        more = peer.recv(8 - len(data))
        if not more:
            sys.exit("the other one is gone")
        data += more
    return struct.unpack("d", data)[0]

note(f"pid {os.getpid()} of {size}, seed {os.environ['HEATS_SEED']}")
if rank == 0:
    listener = socket.create_server(meets_at)
    peers = [listener.accept()[0] for _ in range(size - 1)]
else:
    while True:
        try:
            peers = [socket.create_connection(meets_at)]
            break
        except ConnectionRefusedError:
            time.sleep(0.02)

with heats.trial() as t:
    w, target = 0.0, 1.0 + 2.0 * rank
    for step in range(1, 5):
        while step == 3 and os.environ["HEATS_ATTEMPT"] == "1" and (here / "hold").exists():
            time.sleep(0.02)
        gradient = 2 * (w - target)
        if rank == 0:
            total = gradient + sum(receive(peer) for peer in peers)
            for peer in peers:
                peer.sendall(struct.pack("d", total))
        else:
            peers[0].sendall(struct.pack("d", gradient))
            total = receive(peers[0])
        w -= lr * total / size
        loss = (w - 2.0) ** 2
        if rank == 0:
            with open(os.environ["MEASURED"], "a") as measured:
                measured.write(f"{os.environ['HEATS_TRIAL']} {os.environ['HEATS_ATTEMPT']} {step} {loss}\n")
        t.report(step, loss=loss + rank)
        time.sleep(float(os.environ.get("STEP_TIME", "0")))
note("done")
"#;

/// A sweep of [`PARABOLA`], whose searcher proposes the same whatever happens.
pub fn sweep(trials: u64) -> String {
    format!(
        "
version: 1
name: killed
command: [./trial.sh]
space: {{ x: {{ int: [0, 1000] }}, y: {{ float: [0.001, 1.0], log: true }} }}
objective: {{ minimize: loss }}
search: {{ algorithm: random, seed: 11 }}
budget: {{ trials: {trials} }}
run: {{ stop_grace: 2s }}
"
    )
}

/// What the sweep's searcher proposes and the scripts measure, when nobody disturbs.
pub fn undisturbed(trials: u64) -> Audit {
    let workspace = Workspace::with(&sweep(trials), &PARABOLA.replace("sleep 0.04", ""));
    workspace.ok(&["run", "sweep.yaml"]);
    workspace.audit(&Expected::trials(trials))
}

/// For a searcher without history, trial n is the same whatever happened.
pub fn expect_the_same(disturbed: &Audit, undisturbed: &Audit) {
    let params = |audit: &Audit| audit.trials.iter().map(|trial| trial.json["params"].clone()).collect::<Vec<_>>();
    assert_eq!(params(disturbed), params(undisturbed));
    assert_eq!(disturbed.best(), undisturbed.best());
    assert!(disturbed.trials.iter().all(|trial| trial.state == "completed"), "{:?}", disturbed.trials);
}
