package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/internal/docker"
)

// hostPath is where a volume's data lies on this host, and how that was found. The local driver's options are those of
// mount(8): see volume/local/local_unix.go of moby.
func hostPath(v docker.Volume) (path, how string, err error) {
	if v.Driver != "local" {
		return "", "", fmt.Errorf("%w: its driver is %q; a snapshot needs a volume of the driver \"local\", or name its directory by path", ErrNoPath, v.Driver)
	}
	kind, device := v.Options["type"], v.Options["device"]
	switch {
	case kind == "" && device == "": // none, or only a size
		return v.Mountpoint, FoundMountpoint, nil
	case isBind(v.Options):
		return device, FoundBind, nil
	case kind == "tmpfs":
		return "", "", fmt.Errorf("%w: it is a tmpfs, in memory only; leave it out", ErrNoPath)
	case strings.HasPrefix(kind, "nfs") || kind == "cifs" || kind == "smb3":
		return "", "", fmt.Errorf("%w: it is on %s at %s; snapshot it there, or leave it out", ErrNoPath, kind, device)
	}
	return "", "", fmt.Errorf("%w: %s %s is mounted only while a container uses it; mount it by /etc/fstab and name that directory by path", ErrNoPath, kind, device)
}

// isBind reports whether the options make the volume another view of a directory.
func isBind(options map[string]string) bool {
	flags := strings.Split(options["o"], ",")
	return strings.HasPrefix(options["device"], "/") && (slices.Contains(flags, "bind") || slices.Contains(flags, "rbind"))
}
