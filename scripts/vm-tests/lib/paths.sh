# shellcheck shell=bash
# What every part needs: where things are kept, what they are named by, locks, and how to speak.
#
#   modules/KERNEL-ZFS-HASH/   spl.ko zfs.ko
#   image/HASH/                root.img vmlinuz initrd.img and the keys to log in with
#   template/HASH/             a machine that was booted from the image and frozen; names its image
#   machines/NAME/             disks and sockets of a machine; names its template
#   wires/                     the sockets between two machines
#
# What is being made has a name that starts with "new." and gets its own by a rename, so nothing that was cut short looks
# finished. build.lock is held by who makes something; use.lock shared by who picks a template, exclusively by who removes.

cache=${VOLSNAP_VM_CACHE:-/var/cache/volsnap-vm}
started=$EPOCHREALTIME

say() {
	local now=${EPOCHREALTIME/[.,]/}
	printf 'vm: [%6.1fs] %s\n' "$(((now - ${started/[.,]/}) / 100000))e-1" "$*" >&2
}

die() {
	printf 'vm: %s\n' "$*" >&2
	exit 1
}

need_cache() { # paths end up in QEMU options and socket addresses, which have limits
	if [[ ! $cache =~ ^/[A-Za-z0-9_./-]{1,60}$ ]]; then
		die "VOLSNAP_VM_CACHE=$cache: want an absolute path of at most 60 letters, digits and ._-/"
	fi
	mkdir -p "$cache"/{image,template,modules,machines,wires}
}

need_root() {
	if [ "$(id -u)" -ne 0 ]; then die "run as root: making the image and its modules needs mounts and a chroot"; fi
}

need_tools() {
	if ! "$here/../install-deps" --vm --check >&2; then die "install what is missing with: scripts/install-deps --vm"; fi
}

hash_of() { sha256sum | cut -c1-16; } # stdin

image_key() {
	(cd "$here" && cat provision lib/packages.sh lib/modules.sh lib/image.sh lib/initrd lib/vm-identity | hash_of)
}

template_key() { # IMAGE-KEY ACCELERATOR
	{
		echo "$1 $2"
		qemu_version
		if [ "$2" = kvm ]; then grep -m1 '^model name' /proc/cpuinfo; fi
		cat "$here/lib/qemu.sh" "$here/lib/template.sh" "$here/lib/warm-up"
	} | hash_of
}

# Locks have fixed descriptors, so that what runs on (QEMU, ssh) can be started without them: 7>&- 8>&- 9>&-.
lock_build() {
	exec 7>"$cache/build.lock"
	if ! flock -n 7; then
		say "another build is at work; waiting"
		flock 7
	fi
}

lock_use() { # -s or -x
	exec 8>"$cache/use.lock"
	flock "$1" 8
}

unlock_use() { exec 8>&-; }

lock_machine() { # NAME
	exec 9>"$cache/machines/.$1.lock"
	flock 9
}

forget() { # DIR: remove it with all that is below, unless something is mounted there
	if grep -qF " $1" /proc/self/mounts; then die "remove $1: something is mounted below it"; fi
	rm -rf "$1"
}
