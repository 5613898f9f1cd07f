# shellcheck shell=bash
# The template: a machine that was booted once and frozen, and how machines are thawed from it. Its memory is a file that
# each machine maps privately, its root disk the base of their overlays; so a machine costs what it changes.

# make_template KEY IMAGE-KEY ACCELERATOR
make_template() {
	local key=$1 image=$cache/image/$2 accel=$3 new=$cache/template/new.$1 disk
	mkdir -p "$new"
	echo "$2" >"$new/image"
	echo "$accel" >"$new/accelerator"
	echo 1 >"$new/number"
	qemu-img create -q -f qcow2 -b "$image/root.img" -F raw "$new/root.qcow2"
	for disk in b c d; do qemu-img create -q -f qcow2 "$new/$disk.qcow2" $disk_size; done
	truncate -s ${memory}M "$new/ram"
	start_qemu "$new" "$image" "$accel" "memory-backend-file,mem-path=$new/ram,share=on"
	await_ssh "$new" 300
	shell "$new" 'until systemctl is-active -q multi-user.target; do sleep 0.2; done' </dev/null
	say "template: booted ($accel)"
	if ! shell "$new" 'bash -s' <"$here/lib/warm-up" >"$new/warm-up.log" 2>&1; then
		cat "$new/warm-up.log" >&2
		die "warming up failed"
	fi
	say "template: warmed up"
	freeze "$new"
	chmod 444 "$new"/*.qcow2 "$new"/ram "$new"/devices
	rm -f "$new"/{payload,ssh_config,console,pid,monitor,qemu.log,number,b.qcow2,c.qcow2,d.qcow2} "$cache/wires/${new##*/}".*
	sync -f "$new"
	mv -T "$new" "$cache/template/$key"
	say "template: frozen, memory $(du -sh "$cache/template/$key/ram" | cut -f1)"
}

# freeze writes what is not memory into DIR/devices (the memory is in its file already) and ends QEMU.
freeze() {
	local dir=$1 state writer try
	socat -u "UNIX-LISTEN:$dir/socket" "CREATE:$dir/devices" 7>&- &
	writer=$!
	until [ -S "$dir/socket" ]; do sleep 0.02; done
	monitor "$dir" 'migrate_set_capability x-ignore-shared on' "migrate -d unix:$dir/socket" >/dev/null
	for ((try = 0; try < 1200; try++)); do
		state=$(monitor "$dir" 'info migrate' | sed -n 's/^Migration status: //p')
		case $state in
		completed) break ;;
		failed | cancelled) die "freezing: migration $state; see $dir/qemu.log" ;;
		esac
		sleep 0.05
	done
	if [ "$state" != completed ]; then die "freezing: not done after a minute ($state)"; fi
	wait $writer
	cut_power "$dir"
	rm -f "$dir/socket"
}

# thaw_machine DIR starts the machine from its template, with the disks that are in DIR.
thaw_machine() {
	local dir=$1 template image accel
	template=$cache/template/$(<"$dir/template")
	image=$cache/image/$(<"$template/image")
	accel=$(<"$template/accelerator")
	start_qemu "$dir" "$image" "$accel" "memory-backend-file,mem-path=$template/ram,share=off" -incoming defer
	monitor "$dir" 'migrate_set_capability x-ignore-shared on' "migrate_incoming \"exec:cat $template/devices\"" >/dev/null
	local try state
	for ((try = 0; try < 1500; try++)); do
		state=$(monitor "$dir" 'info status' | sed -n 's/^VM status: //p')
		case $state in
		'' | *inmigrate*) sleep 0.02 ;;
		*) break ;;
		esac
	done
	monitor "$dir" cont >/dev/null
	set_identity "$dir" thawed
}

boot_machine() { # DIR: from the disks alone
	local dir=$1 template
	template=$cache/template/$(<"$dir/template")
	start_qemu "$dir" "$cache/image/$(<"$template/image")" "$(<"$template/accelerator")" memory-backend-ram
	set_identity "$dir" booted
}

set_identity() { # DIR thawed|booted
	local dir=$1
	await_ssh "$dir" 300
	# One connection that stays makes every later command quicker. It must hold none of our descriptors.
	ssh -F "$dir/ssh_config" -MNf vm </dev/null >/dev/null 2>&1 7>&- 8>&- 9>&-
	head -c 64 /dev/urandom | shell "$dir" "vm-identity $2 $(printf '%q ' "${dir##*/}" "$(<"$dir/number")" "$(<"$dir/peer")" "$EPOCHREALTIME")"
}
