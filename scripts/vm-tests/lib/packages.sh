# shellcheck shell=bash
# Debian packages, from the mirrors that this host's apt already uses, without touching the host's own lists.

apt_dir=$cache/apt

apt_for_image() { # TOOL ARGS...: apt with the image's sources and lists of its own
	local tool=$1
	shift
	"$tool" -qq -o Dir::Etc::sourcelist="$apt_dir/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts="$apt_dir/none" \
		-o Dir::State::lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache" -o APT::Sandbox::User=root "$@"
}

need_debian() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	if [ "$codename" != bookworm ]; then
		die "this host is ${codename:-no Debian}, not Debian 12 (bookworm): the modules are compiled here for the image's kernel," \
			"and the packages come from where the host's apt has its own. Use a Debian 12 host, or Vagrant with ./provision"
	fi
}

refresh_lists() {
	rm -rf "$apt_dir"
	mkdir -p "$apt_dir/none" "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	"$here/provision" --sources >"$apt_dir/sources.list"
	apt_for_image apt-get update
}

proxies() { # the host's proxies as options for mmdebstrap, which does not read the host's apt.conf
	apt-config dump --no-empty Acquire | sed -n 's/^\(Acquire::[a-z]*::Proxy .*\)$/--aptopt=\1/p'
}

# kernel_and_zfs DIR unpacks the newest kernel into DIR/kernel, its headers and the source of ZFS into DIR/build, and
# leaves the two versions in DIR/versions.
kernel_and_zfs() {
	local dir=$1 kernel deb
	mkdir -p "$dir"/{debs,kernel,build}
	kernel=$(apt_for_image apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {sub("linux-image-", "", $2); print $2; exit}')
	if [ -z "$kernel" ]; then die "apt knows no linux-image-cloud-amd64"; fi
	local headers=linux-headers-$kernel parts
	parts=$(apt_for_image apt-cache depends "$headers" | awk '/Depends: linux-/ {print $2}')
	# shellcheck disable=SC2086 # a list of words
	(cd "$dir/debs" && apt_for_image apt-get download "linux-image-$kernel" "$headers" $parts zfs-dkms/bookworm-backports)
	for deb in "$dir"/debs/*.deb; do
		case ${deb##*/} in
		linux-image-*) dpkg-deb -x "$deb" "$dir/kernel" ;;
		*) dpkg-deb -x "$deb" "$dir/build" ;;
		esac
	done
	rm -rf "$dir/debs"
	local source=("$dir"/build/usr/src/zfs-*)
	echo "$kernel ${source[0]##*/zfs-}" >"$dir/versions"
}

# root_tree DIR makes the image's files in DIR: a minimal Debian with the packages that ./provision names.
root_tree() {
	local dir=$1 options=()
	mapfile -t options < <(proxies)
	mmdebstrap --quiet --variant=minbase --include="$("$here/provision" --packages | paste -sd,)" "${options[@]}" \
		--setup-hook="mkdir -p \"\$1\"/usr/sbin \"\$1\"/etc/apt/preferences.d" \
		--setup-hook="\"$here/provision\" --preferences >\"\$1\"/etc/apt/preferences.d/volsnap-vm" \
		--setup-hook='printf "#!/bin/sh\nexit 101\n" >"$1"/usr/sbin/policy-rc.d && chmod 755 "$1"/usr/sbin/policy-rc.d' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
		--dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/libLLVM*' --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' \
		bookworm "$dir" "$apt_dir/sources.list" >"$dir.log" 2>&1 || {
		tail -n 30 "$dir.log" >&2
		die "mmdebstrap failed"
	}
}
