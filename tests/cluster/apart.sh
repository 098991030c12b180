#!/usr/bin/env bash
# Runs a command where a node may live: with a network, mounts, processes, /run, /var/lib, /var/log and temporary files of its own, and a control
# group for a kubelet. However the command ends, all of that goes with it, and the machine is as before. Needs root.
#
#   apart.sh COMMAND...     (NODE=1 of run.sh works only in here; KEEP=1 keeps the files, and says where)
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
groups() { # the root of each hierarchy of control groups; there is one with version 2
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else ls -d /sys/fs/cgroup/*/; fi
}

if [ "${1:-}" != --inside ]; then
  [ "$(id -u)" = 0 ] || { echo "a node needs root: its pods are real containers" >&2; exit 1; }
  remove() { # remove FOLDER: the control groups of its name, and itself; the last process may take a moment to leave its group
    local root name=${1##*/}
    for _ in $(seq 50); do
      for root in $(groups); do find "$root/$name" -depth -type d -exec rmdir {} + 2>/dev/null; done
      compgen -G "/sys/fs/cgroup/*/$name" >/dev/null || [ -e "/sys/fs/cgroup/$name" ] || break
      sleep 0.1
    done
    [ -n "${KEEP:-}" ] || rm -rf "$1"
  }
  base=${TMPDIR:-/tmp}/rolecall-node
  for old in "$base".*/pid; do # what a killed one left
    [ ! -e "$old" ] || kill -0 "$(<"$old")" 2>/dev/null || KEEP='' remove "${old%/pid}"
  done
  work=$(mktemp -d "$base.XXXXXX")
  echo $$ >"$work/pid"
  for root in $(groups); do mkdir "$root/${work##*/}" 2>/dev/null; done
  inside=
  # shellcheck disable=SC2317 # the trap calls it
  finish() {
    trap '' INT TERM HUP
    kill -KILL "$inside" 2>/dev/null; wait "$inside" 2>/dev/null
    remove "$work"
    [ -z "${KEEP:-}" ] || { rm "$work/pid"; echo "kept: $work" >&2; }
  }
  trap finish EXIT
  trap : INT # the command hears a Ctrl-C too, and ends by itself
  trap 'exit 143' TERM HUP
  # A background command would ignore a Ctrl-C; and whatever kills this script ends what is inside.
  APART=${work##*/} TMPDIR=$work env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
    unshare --net --mount --pid --ipc --uts --kill-child --mount-proc "$here/apart.sh" --inside "$@" <&0 &
  inside=$!
  echo "apart: to look around, nsenter --mount --net --target $inside" >&2
  while :; do # a signal ends a wait
    wait "$inside"; status=$?
    kill -0 "$inside" 2>/dev/null || exit "$status"
  done
fi

# --- inside: the first process of its own world ---------------------------------------------------------
shift
set -e
ip link set lo up
mount -t tmpfs tmpfs /run
for folder in lib log; do
  mkdir "$TMPDIR/$folder"
  mount --bind "$TMPDIR/$folder" "/var/$folder"
done
# A kubelet sets these for the whole machine; here it sets copies.
for knob in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  mkdir -p "/run/sys/${knob%/*}" && cat "/proc/sys/$knob" >"/run/sys/$knob"
  mount --bind "/run/sys/$knob" "/proc/sys/$knob"
done
set +e
"$@" # not exec: the first process must collect the orphans
exit $?
