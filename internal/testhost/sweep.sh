# sweep DIR DATA [wait]: ends what an engine left behind - daemons, containers, mounts - and removes DIR.
# With "wait", first waits for the end of standard input: the death of the process that started the engine.
dir=$1 data=$2
[ "${3-}" = wait ] && read -r _

daemons() { # dockerd, containerd and its shims all name the exec directory
	for p in $(grep -slF -- "$dir/exec" /proc/[0-9]*/cmdline); do
		p=${p#/proc/}
		kill -9 "${p%/cmdline}" 2>/dev/null
	done
}

daemons
for c in "$data"/containers/*/; do
	id=$(basename "$c")
	for cg in /sys/fs/cgroup/freezer/docker/"$id" /sys/fs/cgroup/docker/"$id" /sys/fs/cgroup/system.slice/docker-"$id".scope; do
		[ -d "$cg" ] || continue
		while read -r p; do kill -9 "$p" 2>/dev/null; done <"$cg"/cgroup.procs
		[ -e "$cg"/freezer.state ] && echo THAWED >"$cg"/freezer.state
		[ -e "$cg"/cgroup.freeze ] && echo 0 >"$cg"/cgroup.freeze
	done
	for cg in /sys/fs/cgroup/*/docker/"$id" /sys/fs/cgroup/docker/"$id"; do
		for try in 1 2 3 4 5; do [ ! -d "$cg" ] || rmdir "$cg" 2>/dev/null || sleep 0.1; done
	done
done
daemons # a shim that was just being started

awk '{ at[NR] = $5 } END { for (i = NR; i > 0; i--) print at[i] }' /proc/self/mountinfo | while read -r raw; do
	grep -qsF -- " $raw " "$dir/mounts" && continue # not the engine's: it was there before
	at=$(printf '%b' "$raw")
	case $at in
	"$dir"/* | "$data"/overlay2* | "$data"/vfs/* | "$data"/containers/* | "$data"/volumes/*/_data) umount -l -- "$at" ;;
	esac
done
rm -rf -- "$dir"
