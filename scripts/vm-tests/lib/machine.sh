# shellcheck shell=bash
# Machines: up, exec, kill, boot, replug, down, list.

need_name() { # NAME: usable as host name, file name and part of a socket's address
	if [[ ! $1 =~ ^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$ ]]; then
		die "bad name '$1': want up to 20 of a-z, 0-9 and -, not starting or ending with -"
	fi
}

dir_of() { echo "$cache/machines/$1"; }

need_machine() { # NAME
	need_name "$1"
	if [ ! -e "$(dir_of "$1")/template" ]; then die "there is no machine $1; vm list names those there are"; fi
}

need_running() { # NAME
	need_machine "$1"
	if [ -z "$(process_of "$(dir_of "$1")")" ]; then die "$1 is switched off: vm boot $1, or vm replug $1"; fi
}

# machine_up NAME PEER makes a machine, in place of one of that name that is switched off.
machine_up() {
	local name=$1 peer=$2 dir number=1
	need_name "$name"
	need_cache
	lock_machine "$name"
	dir=$(dir_of "$name")
	if [ -n "$(process_of "$dir")" ]; then die "$name is running: vm down $name ends it"; fi
	if [ -n "$peer" ]; then
		need_running "$peer"
		if [ "$(<"$(dir_of "$peer")/number")" != 1 ]; then die "$peer is itself the second on a wire"; fi
		number=2
	fi
	build
	forget "$dir"
	mkdir "$dir"
	trap 'abandon' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	echo $number >"$dir/number"
	echo "$peer" >"$dir/peer"
	pick_template "$dir"
	fresh_root "$dir"
	local disk
	for disk in b c d; do qemu-img create -q -f qcow2 "$dir/$disk.qcow2" $disk_size; done
	thaw_machine "$dir"
	if [ -n "$peer" ]; then introduce "$peer" "$name"; fi
	trap - EXIT INT TERM HUP
	say "$name is up"
}

abandon() { # on the way out of an up that failed; dir is machine_up's
	set +e # as in end_build
	# shellcheck disable=SC2154
	cut_power "$dir"
	rm -rf "$dir"
}

pick_template() { # DIR: from now on the template is in use and stays
	local template
	lock_use -s
	template=$(find_template) || die "the template is gone: vm build"
	echo "$template" >"$1/template"
	unlock_use
}

fresh_root() { # DIR
	rm -f "$1/root.qcow2"
	qemu-img create -q -f qcow2 -b "$cache/template/$(<"$1/template")/root.qcow2" -F qcow2 "$1/root.qcow2"
}

introduce() { # FIRST SECOND: let the first know the name of the second
	echo "$2" >"$(dir_of "$1")/peer"
	shell "$(dir_of "$1")" "vm-identity names $1 1 $2" </dev/null
}

machine_exec() { # NAME CMD...
	local name=$1
	shift
	need_running "$name"
	exec ssh -F "$(dir_of "$name")/ssh_config" -T vm "$(printf '%q ' "$@")"
}

machine_kill() { # NAME
	need_machine "$1"
	cut_power "$(dir_of "$1")"
}

machine_boot() { # NAME
	need_machine "$1"
	lock_machine "$1"
	if [ -n "$(process_of "$(dir_of "$1")")" ]; then die "$1 is running; vm kill $1 cuts its power"; fi
	boot_machine "$(dir_of "$1")"
	say "$1 is booted"
}

machine_replug() { # NAME
	need_machine "$1"
	lock_machine "$1"
	cut_power "$(dir_of "$1")"
	fresh_root "$(dir_of "$1")"
	thaw_machine "$(dir_of "$1")"
	say "$1 is up, with a new root disk"
}

machine_down() { # NAME; nothing to do where there is no such machine
	need_name "$1"
	need_cache
	lock_machine "$1"
	local dir near
	dir=$(dir_of "$1")
	read -r near _ < <(wire_of "$dir")
	cut_power "$dir"
	forget "$dir"
	rm -f "$near"
}

machine_list() {
	local dir name state
	for dir in "$cache"/machines/*/; do
		if [ ! -e "$dir/template" ]; then continue; fi
		dir=${dir%/} name=$(basename "$dir") state=off
		if [ -n "$(process_of "$dir")" ]; then state=running; fi
		printf '%-20s %-8s 10.9.0.%s %s\n' "$name" $state "$(<"$dir/number")" "$(<"$dir/peer")"
	done
}
