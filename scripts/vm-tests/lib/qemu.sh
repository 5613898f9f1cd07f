# shellcheck shell=bash
# QEMU: how a machine is started, asked and ended. A machine is a directory with its disks {root,b,c,d}.qcow2.

memory=2048 # MiB
processors=2
disk_size=8G
payload_size=16G # of the read-only disk by which files come in; sparse

qemu_version() { dpkg-query -W -f '${Version}\n' qemu-system-x86 2>/dev/null || qemu-system-x86_64 --version; }

# accelerator prints kvm or tcg. A /dev/kvm that is there and opens proves little (nested or software virtualisation), so
# the image's own kernel is started with it. The answer holds until the next boot of this host.
accelerator() {
	local known asked answer=tcg image
	if [ ! -w /dev/kvm ]; then
		echo tcg
		return
	fi
	asked="$(</proc/sys/kernel/random/boot_id) $(qemu_version)"
	known=$(cat "$cache/accelerator" 2>/dev/null || true)
	if [ "${known% *}" = "$asked" ]; then
		echo "${known##* }"
		return
	fi
	image=$cache/image/$(image_key)
	if [ ! -e "$image/vmlinuz" ]; then die "the image is needed to find out: vm build"; fi
	if kvm_boots "$image"; then answer=kvm; fi
	say "/dev/kvm is there and $(if [ $answer = kvm ]; then echo serves; else echo 'starts no kernel; emulating'; fi)"
	echo "$asked $answer" >"$cache/accelerator.$$"
	mv "$cache/accelerator.$$" "$cache/accelerator"
	echo $answer
}

kvm_boots() { # IMAGE-DIR
	timeout -k 1 20 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 512 -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$1/vmlinuz" -initrd "$1/initrd.img" -append "console=ttyS0 quiet panic=-1 vm.probe" -serial stdio </dev/null 2>/dev/null |
		grep -aq VM-PROBE-REACHED
}

# start_qemu DIR IMAGE ACCELERATOR MEMORY [ARGS...] starts it in the background and returns once it answers. MEMORY is the
# middle of a -object that is called ram.
start_qemu() {
	local dir=$1 image=$2 accel=$3 ram=$4 disk pid try options=() cpu=Nehalem near far
	shift 4
	rm -f "$dir"/{console,pid,monitor,ssh}
	if [ "$accel" = kvm ]; then cpu=host; else accel=tcg,thread=multi; fi
	for disk in root b c d; do
		options+=(-drive "file=$dir/$disk.qcow2,if=none,id=$disk,cache=unsafe,discard=unmap" -device "virtio-blk-pci,drive=$disk")
	done
	if [ ! -e "$dir/payload" ]; then truncate -s $payload_size "$dir/payload"; fi
	read -r near far < <(wire_of "$dir")
	setsid qemu-system-x86_64 -name "volsnap-vm-${dir##*/}" -M q35,memory-backend=ram -object "$ram,id=ram,size=${memory}M" \
		-accel "$accel" -cpu $cpu -smp $processors -m $memory -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$image/vmlinuz" -initrd "$image/initrd.img" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off rcupdate.rcu_expedited=1 nokaslr net.ifnames=0 apparmor=0" "${options[@]}" \
		-drive "file=$dir/payload,format=raw,if=none,id=payload,readonly=on" -device virtio-blk-pci,drive=payload \
		-netdev "user,id=host,restrict=on,hostfwd=tcp:127.0.0.1:0-:22" -device virtio-net-pci,netdev=host,romfile= \
		-netdev "dgram,id=wire,local.type=unix,local.path=$near,remote.type=unix,remote.path=$far" -device virtio-net-pci,netdev=wire,romfile=,mac=52:54:00:00:01:01 \
		-device virtio-rng-pci -serial "file:$dir/console" -pidfile "$dir/pid" -monitor "unix:$dir/monitor,server=on,wait=off" \
		"$@" </dev/null >"$dir/qemu.log" 2>&1 7>&- 8>&- 9>&- &
	pid=$!
	disown $pid
	for ((try = 0; try < 500; try++)); do
		if [ -S "$dir/monitor" ] && [ -s "$dir/pid" ]; then
			write_ssh_config "$dir" "$image"
			return
		fi
		if ! kill -0 $pid 2>/dev/null; then break; fi
		sleep 0.02
	done
	cat "$dir/qemu.log" >&2
	die "QEMU did not start"
}

# wire_of prints the two ends of the machine's wire, its own first: datagram sockets, so either side may come and go. They
# are called after the machine that is number 1.
wire_of() { # DIR
	local name=${1##*/} peer
	peer=$(cat "$1/peer" 2>/dev/null || true)
	if [ "$(cat "$1/number" 2>/dev/null)" = 2 ]; then
		echo "$cache/wires/$peer.2 $cache/wires/$peer.1"
	else
		echo "$cache/wires/$name.1 $cache/wires/$name.2"
	fi
}

# monitor DIR COMMAND... gives QEMU's human monitor the commands and prints what it says.
monitor() {
	local dir=$1
	shift
	printf '%s\n' "$@" | socat -t60 - "UNIX-CONNECT:$dir/monitor" | tr -d '\r'
}

process_of() { # DIR: prints the process id if that QEMU runs
	local pid
	pid=$(cat "$1/pid" 2>/dev/null) || return 0
	if grep -qazF "$1/pid" "/proc/$pid/cmdline" 2>/dev/null; then echo "$pid"; fi
}

# has_ended tells whether a process is gone, or a zombie without any other thread. One that is being killed has lost its command line
# already while it has its files, and their locks, still.
has_ended() { # PID
	local threads=(/proc/"$1"/task/*)
	[ ! -e "/proc/$1" ] || { [ ${#threads[@]} -eq 1 ] && grep -q '^State:.Z' "/proc/$1/status"; }
}

# cut_power ends QEMU at once and waits until it is gone. What the machine had flushed is in the files; what it had not may
# be lost, as with a disk's cache.
cut_power() { # DIR
	local pid try
	pid=$(process_of "$1")
	if [ -z "$pid" ]; then return; fi
	kill -KILL "$pid" 2>/dev/null || true
	for ((try = 0; try < 1500; try++)); do
		if has_ended "$pid"; then
			if [ -S "$1/ssh" ]; then ssh -F "$1/ssh_config" -O exit vm 2>/dev/null || true; fi
			return
		fi
		sleep 0.02
	done
	die "QEMU (process $pid) is still there 30 s after SIGKILL"
}

write_ssh_config() { # DIR IMAGE: the port is any free one, found out from QEMU
	local port
	port=$(monitor "$1" 'info usernet' | awk '/HOST_FORWARD/ {print $4; exit}')
	if [[ ! $port =~ ^[0-9]+$ ]]; then die "QEMU names no forwarded port"; fi
	cat >"$1/ssh_config" <<-CONFIG
		Host vm
			HostName 127.0.0.1
			Port $port
			User root
			IdentityFile $2/id_ed25519
			IdentitiesOnly yes
			UserKnownHostsFile $2/known_hosts
			HostKeyAlias vm
			ControlPath $1/ssh
			ConnectTimeout 5
			ServerAliveInterval 15
			ServerAliveCountMax 8
			LogLevel ERROR
	CONFIG
}

# shell DIR WORDS... runs them as ssh does: joined by spaces and read by the machine's bash.
shell() {
	local dir=$1
	shift
	ssh -F "$dir/ssh_config" vm "$@"
}

await_ssh() { # DIR SECONDS
	local end=$((SECONDS + $2))
	until shell "$1" true </dev/null 2>/dev/null; do
		if [ -z "$(process_of "$1")" ]; then
			cat "$1/qemu.log" >&2
			die "the machine ended while it started; its console: $1/console"
		fi
		if [ $SECONDS -ge $end ]; then die "no answer from the machine after $2 s; its console: $1/console"; fi
		sleep 0.1
	done
}
