#!/bin/busybox sh
# The first process of the machine that `check.sh` boots. Says `ok` or `FAILED` for each thing that it looks at, then `done`.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /work
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ifconfig lo 127.0.0.1 up

# What systemd does where a unit says `Delegate=yes`.
echo "+memory +cpu +pids" >/sys/fs/cgroup/cgroup.subtree_control
base=/sys/fs/cgroup/heats
mkdir $base
export HEATS_CGROUPS=$base

holds() { # WHAT COMMAND...
  what=$1
  shift
  if "$@" >/tmp/said 2>&1; then echo "ok $what"; else
    echo "FAILED $what"
    cat /tmp/said
  fi
}
says() { # TEXT COMMAND...
  text=$1
  shift
  "$@" 2>&1 | tee /dev/stderr | grep -q "$text"
}

cd /work || exit
cat >sweep.yaml <<'S'
version: 1
name: limits
command: [sh, trial.sh, "${what}"]
space: { what: { choice: [fine, hungry, half, tree] } }
search: { algorithm: grid }
budget: { trials: 4, parallel: 1 }
resources: { cpus: 2, memory: 64MiB }
run: { retries: 0 }
S
cat >trial.sh <<'S'
group=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
echo "memory $(cat "$group/memory.max"), processes $(cat "$group/pids.max"), weight $(cat "$group/cpu.weight")"
case $1 in
fine) dd if=/dev/zero of=/dev/null bs=16M count=4 ;;
# More than it was granted.
hungry) dd if=/dev/zero of=/dev/null bs=128M count=2 ;;
# The same in a process that the script does without: half of a trial is no trial.
half)
  dd if=/dev/zero of=/dev/null bs=128M count=2
  exit 0
  ;;
# Processes that have left its session, and do not listen.
tree) setsid sh -c 'trap "" TERM; while :; do sleep 1; done' & sleep 1 ;;
esac
S
cat >grows.yaml <<'S'
version: 1
name: grows
command: [sh, trial.sh, "${what}"]
space: { what: { choice: [hungry] } }
search: { algorithm: grid }
resources: [{ memory: 64MiB }, { memory: 512MiB }]
run: { retries: 0, retry: { out_of_memory: next_variant } }
S

holds "hwdetect says what trials are held to" \
  says "control groups with memory, cpu, pids" heats agent hwdetect
heats run sweep.yaml --data data >run.log 2>&1
heats run grows.yaml --data data >>run.log 2>&1
# A coordinator that is up again, to be asked.
heats dev --data data >dev.log 2>&1 &
until heats ls >/dev/null 2>&1; do sleep 1; done
of() { heats show "$1" -o json | tr -d ' \n' | sed 's/.*"trial":{//'; }
state() { of "limits/$1"; }
holds "a trial within its memory completes" says '"state":"completed"' state 0
holds "one beyond it has run out of memory" says '"out_of_memory"' state 1
holds "also where only a child of the script did" says '"out_of_memory"' state 2
holds "one that may grow completes on the next variant" says '"state":"completed"' of grows/0
holds "after the first was too small for it" says '"failure":"out_of_memory"' of grows/0
holds "one that leaves processes behind completes" says '"state":"completed"' state 3
holds "a trial sees its own limits" says "memory 67108864, processes 16384, weight 200" heats logs limits/0
holds "nothing that a trial left behind runs" sh -c '! ps | grep -v grep | grep -q "while :"'
holds "no group of an attempt is left" sh -c "! ls $base | grep -q '@'"
echo "done"
poweroff -f
