# shellcheck shell=bash
# The image: a root disk, the kernel and a small initrd, from which QEMU starts without a boot loader.

root_size=8G

# make_image KEY takes about four minutes on two cores, of which the modules are three.
make_image() {
	local key=$1 new=$cache/image/new.$1 kernel zfs installing
	say "image $key: reading the package lists"
	refresh_lists
	mkdir -p "$new"
	root_tree "$new/tree" &
	installing=$!
	kernel_and_zfs "$new"
	read -r kernel zfs <"$new/versions"
	say "image: kernel $kernel and ZFS $zfs are unpacked"
	make_modules "$new" "$kernel" "$zfs"
	wait $installing
	say "image: the packages are installed"
	set_up_tree "$new" "$kernel" "$zfs"
	make_initrd "$new/tree" "$kernel" "$new"
	truncate -s $root_size "$new/root.img"
	mke2fs -q -t ext4 -J size=16 -E lazy_itable_init=1,root_owner=0:0 -m 0 -d "$new/tree" "$new/root.img"
	chmod 444 "$new/root.img"
	forget "$new/tree"
	rm -rf "$new"/{kernel,build,tree.log,zfs.log} "$apt_dir"
	sync -f "$new"
	mv -T "$new" "$cache/image/$key"
	say "image: done, $(du -sh "$cache/image/$key/root.img" | cut -f1)"
}

set_up_tree() { # NEW KERNEL ZFS
	local new=$1 kernel=$2 tree=$1/tree
	mkdir -p "$tree/lib/modules"
	cp -a "$new/kernel/lib/modules/$kernel" "$tree/lib/modules/"
	install -D -m 644 -t "$tree/lib/modules/$kernel/extra" "$(modules_dir "$kernel" "$3")"/*.ko
	chroot "$tree" depmod "$kernel"
	cp "$new/kernel/boot/vmlinuz-$kernel" "$new/vmlinuz"
	chroot "$tree" dpkg-query -W >"$new/packages"
	"$here/provision" --configure "$tree"
	install -m 755 "$here/lib/vm-identity" "$tree/usr/local/sbin/"
	rm -f "$tree/usr/sbin/policy-rc.d"
	set_up_system "$tree"
	set_up_ssh "$new"
}

set_up_system() { # TREE
	local tree=$1 units=$1/etc/systemd/system unit
	echo vm >"$tree/etc/hostname"
	echo '127.0.0.1 localhost vm' >"$tree/etc/hosts"
	echo '/dev/vda / ext4 defaults,noatime 0 1' >"$tree/etc/fstab"
	: >"$tree/etc/resolv.conf"
	od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$tree/etc/machine-id"
	rm -f "$tree"/etc/systemd/network/*
	printf '[Match]\nName=eth0\nKernelCommandLine=!vm.dhcp\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' >"$tree/etc/systemd/network/10-qemu.network"
	printf '[Match]\nName=eth0\nKernelCommandLine=vm.dhcp\n[Network]\nDHCP=ipv4\n[DHCPv4]\nClientIdentifier=mac\n' >"$tree/etc/systemd/network/20-vagrant.network"
	ln -sf /lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"
	# What would only take time, or start by itself while a test looks on.
	rm -f "$units"/*.wants/*.timer "$units"/*.timer
	for unit in e2scrub_reap systemd-timesyncd systemd-pstore; do rm -f "$units"/*.wants/$unit.service; done
	for unit in getty@tty1 serial-getty@ttyS0 systemd-networkd-wait-online; do ln -sf /dev/null "$units/$unit.service"; done
}

set_up_ssh() { # NEW: one key logs in from the host and from one machine to the other; host keys are known, not trusted blindly
	local new=$1 tree=$1/tree
	ssh-keygen -q -t ed25519 -N '' -C volsnap-vm -f "$new/id_ed25519"
	rm -f "$tree"/etc/ssh/ssh_host_*
	ssh-keygen -q -t ed25519 -N '' -C vm -f "$tree/etc/ssh/ssh_host_ed25519_key"
	awk '{print "vm", $1, $2}' "$tree/etc/ssh/ssh_host_ed25519_key.pub" >"$new/known_hosts"
	install -d -m 700 "$tree/root/.ssh"
	install -m 600 "$new/id_ed25519" "$tree/root/.ssh/id_ed25519"
	install -m 600 "$new/id_ed25519.pub" "$tree/root/.ssh/authorized_keys"
	install -m 600 "$new/known_hosts" "$tree/root/.ssh/known_hosts"
	cat >"$tree/etc/ssh/sshd_config" <<-'CONFIG'
		HostKey /etc/ssh/ssh_host_ed25519_key
		PermitRootLogin prohibit-password
		PasswordAuthentication no
		UsePAM no
		UseDNS no
		MaxStartups 100
		MaxSessions 200
		Subsystem sftp internal-sftp
	CONFIG
}

make_initrd() { # TREE KERNEL NEW: busybox and the modules of the root disk, in the order in which they want to be loaded
	local tree=$1 kernel=$2 dir=$3/initrd.d module
	mkdir -p "$dir"/{bin,dev,proc,modules,root}
	cp "$tree/usr/bin/busybox" "$dir/bin/"
	install -m 755 "$here/lib/initrd" "$dir/init"
	chroot "$tree" modprobe -S "$kernel" -a --show-depends virtio_pci virtio_blk ext4 | awk '/^insmod/ && !seen[$2]++ {print $2}' >"$dir/modules/order"
	while read -r module; do cp "$tree$module" "$dir/modules/"; done <"$dir/modules/order"
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$3/initrd.img"
	rm -rf "$dir"
}
