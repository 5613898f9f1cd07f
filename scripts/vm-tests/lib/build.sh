# shellcheck shell=bash
# vm build: what is missing of image and template, and away with what is no longer of use.

# build leaves an image and a template that fit the present scripts, and prints nothing if they were there.
build() {
	need_cache
	if find_template >/dev/null; then return; fi
	need_root
	need_debian
	need_tools
	lock_build
	trap 'end_build' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	clear_leftovers
	local image template accel
	image=$(image_key)
	if [ ! -e "$cache/image/$image/root.img" ]; then make_image "$image"; fi
	accel=$(accelerator)
	template=$(template_key "$image" "$accel")
	if [ ! -e "$cache/template/$template/devices" ]; then make_template "$template" "$image" "$accel"; fi
	remove_unused "$image" "$template"
	trap - EXIT INT TERM HUP
	exec 7>&-
}

# find_template prints the key of the template that fits; its status is 1 if that is still to be made.
find_template() {
	local image accel template
	image=$(image_key)
	if [ ! -e "$cache/image/$image/root.img" ]; then return 1; fi
	accel=$(accelerator)
	template=$(template_key "$image" "$accel")
	if [ ! -e "$cache/template/$template/devices" ]; then return 1; fi
	echo "$template"
}

end_build() { # on the way out of a build that did not come to its end
	set +e # and a plain "return" in a trap has the status from before the trap
	local job
	for job in $(jobs -p); do kill "$job" 2>/dev/null; done
	wait
	clear_leftovers
}

# clear_leftovers removes what a build that was cut short left: only the holder of build.lock makes things called "new.".
clear_leftovers() {
	local dir
	for dir in "$cache"/{image,template,modules}/new.*; do
		if [ ! -e "$dir" ]; then continue; fi
		cut_power "$dir"
		forget "$dir"
	done
	rm -f "$cache"/wires/new.*
}

# remove_unused IMAGE TEMPLATE keeps these two, and what machines still stand on.
remove_unused() {
	local keep=("$cache/image/$1" "$cache/template/$2") machine dir
	lock_use -x
	for machine in "$cache"/machines/*/template; do
		if [ -e "$machine" ]; then keep+=("$cache/template/$(<"$machine")"); fi
	done
	for dir in "${keep[@]}"; do
		if [ -e "$dir/image" ]; then keep+=("$cache/image/$(<"$dir/image")"); fi
	done
	for dir in "${keep[@]}"; do
		if [ -e "$dir/versions" ]; then
			local kernel zfs
			read -r kernel zfs <"$dir/versions"
			keep+=("$(modules_dir "$kernel" "$zfs")")
		fi
	done
	for dir in "$cache"/{template,image,modules}/*; do
		if [ -d "$dir" ] && ! printf '%s\n' "${keep[@]}" | grep -qxF "$dir"; then
			forget "$dir"
			say "removed ${dir#"$cache"/}"
		fi
	done
	unlock_use
}
