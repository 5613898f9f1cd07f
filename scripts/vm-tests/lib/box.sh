# shellcheck shell=bash
# A Vagrant box for the libvirt provider, of the image that the machines here are made from.

make_box() { # DIR
	local to=$1 image work
	build
	image=$cache/image/$(image_key)
	if [ ! -r "$image/id_ed25519" ]; then die "run as root: the box gets the image's key"; fi
	mkdir -p "$to"
	work=$(mktemp -d "$to/.box.XXXXXX")
	# shellcheck disable=SC2064 # now is when it is known
	trap "rm -rf $(printf %q "$work")" EXIT
	qemu-img convert -O qcow2 "$image/root.img" "$work/box.img"
	cp "$image"/{vmlinuz,initrd.img,id_ed25519} "$work/"
	cp "$here/lib/box.Vagrantfile" "$work/Vagrantfile"
	printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": %d}\n' "${root_size%G}" >"$work/metadata.json"
	tar -C "$work" -cf "$work/new" metadata.json Vagrantfile box.img vmlinuz initrd.img id_ed25519
	chmod 600 "$work/new" # a key is in it, which opens these machines
	mv "$work/new" "$to/volsnap.box"
	say "$to/volsnap.box, $(du -h "$to/volsnap.box" | cut -f1)"
}
