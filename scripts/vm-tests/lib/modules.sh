# shellcheck shell=bash
# The ZFS modules for the image's kernel, compiled here: inside an emulated machine it would take an hour.

modules_dir() { # KERNEL ZFS
	echo "$cache/modules/$1-$2-$(hash_of <"$here/lib/modules.sh")"
}

# make_modules DIR KERNEL ZFS compiles with what kernel_and_zfs left in DIR/build. The kernel's headers insist on lying
# below /usr, so in a mount namespace of its own they are laid over the host's /usr; the host sees nothing of it.
make_modules() {
	local dir=$1 kernel=$2 zfs=$3 to work
	to=$(modules_dir "$kernel" "$zfs")
	if [ -e "$to/zfs.ko" ]; then
		say "modules: ZFS $zfs for $kernel is there"
		return
	fi
	work=$dir/zfs
	cp -a "$dir/build/usr/src/zfs-$zfs" "$work"
	chmod -R u+w "$work"
	if ! unshare --mount --propagation private bash -euc '
		mount -t overlay overlay -o "lowerdir=$1/build/usr:/usr" /usr
		cd "$1/zfs"
		./configure --disable-dependency-tracking --with-config=kernel \
			--with-linux="/usr/src/linux-headers-${2%-cloud-amd64}-common" --with-linux-obj="/usr/src/linux-headers-$2"
		make -j"$(nproc)" KCFLAGS=-g0' compile "$dir" "$kernel" >"$dir/zfs.log" 2>&1; then
		tail -n 30 "$dir/zfs.log" >&2
		die "compiling ZFS $zfs for $kernel failed"
	fi
	local new=$cache/modules/new.$$ module
	mkdir -p "$new"
	for module in spl zfs; do strip --strip-debug -o "$new/$module.ko" "$work/module/$module.ko"; done
	mv -T "$new" "$to"
	rm -rf "$work"
	say "modules: ZFS $zfs for $kernel is compiled"
}
