package config

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Target is a place that sets are sent to: a backup server, which SSH names, or places of this host.
type Target struct {
	Name      string
	SSH       string // as ssh(1) takes a destination; empty: Into is set
	Identity  string // absolute path of a private key; empty: what ssh uses by itself
	Into      []Into // one a kind of storage
	Bandwidth int64  // bytes a second of all streams together; 0: no limit
	Resume    bool   // streams that the storage cannot resume are spooled at the target
}

// Replication is a target of an app.
type Replication struct {
	Target           string // the name of one of Config.Targets
	SkipIntermediate bool   // of several sets that the target lacks, the newest alone is sent
}

// Into is a place for replicas, as "KIND:WHERE" names it.
type Into struct {
	Kind  string // btrfs, zfs or lvm
	Where string // a directory, a dataset, or VG/THINPOOL
}

func (i Into) String() string { return i.Kind + ":" + i.Where }

var (
	targetPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	zfsPattern    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.: -]*(/[A-Za-z0-9][A-Za-z0-9_.: -]*)*$`)
	lvmPattern    = regexp.MustCompile(`^[A-Za-z0-9_.+][A-Za-z0-9_.+-]*/[A-Za-z0-9_.+][A-Za-z0-9_.+-]*$`)
	sshPattern    = regexp.MustCompile(`^[A-Za-z0-9_.][^\s'"` + "`" + `$&|;<>()\\]*$`)
)

const maxTarget = 100 // bytes of a name, which goes into a pin

// ParseInto reads "btrfs:DIR", "zfs:DATASET" or "lvm:VG/THINPOOL".
func ParseInto(s string) (Into, error) {
	kind, where, _ := strings.Cut(s, ":")
	i := Into{kind, where}
	switch kind {
	case "btrfs":
		if !path.IsAbs(where) || path.Clean(where) != where || where == "/" || len(where) > maxPath {
			return i, fmt.Errorf("%q: want an absolute path in its shortest form, such as btrfs:/mnt/backup/volsnap", s)
		}
	case "zfs":
		if !zfsPattern.MatchString(where) || len(where) > maxName {
			return i, fmt.Errorf("%q: want a dataset, such as zfs:tank/replicas", s)
		}
	case "lvm":
		if !lvmPattern.MatchString(where) || len(where) > maxName {
			return i, fmt.Errorf("%q: want a volume group and a thin pool, such as lvm:vg0/pool", s)
		}
	default:
		return i, fmt.Errorf("%q: want btrfs:DIR, zfs:DATASET or lvm:VG/THINPOOL", s)
	}
	return i, nil
}

// ValidDestination reports whether s can be a destination of ssh(1), and nothing else to it or to a shell.
func ValidDestination(s string) bool { return sshPattern.MatchString(s) && len(s) <= maxName }

// ParseIntos reads several, of which each is of another kind.
func ParseIntos(all []string) ([]Into, error) {
	var out []Into
	var errs []error
	for _, s := range all {
		i, err := ParseInto(s)
		if err == nil && slices.ContainsFunc(out, func(o Into) bool { return o.Kind == i.Kind }) {
			err = fmt.Errorf("%q: there is a place for %s already", s, i.Kind)
		}
		out, errs = append(out, i), append(errs, err)
	}
	return out, errors.Join(errs...)
}

func targets(v value) []Target {
	var all []Target
	if !v.want(mapping, "{backup: {ssh: volsnap@backup.example.org}}") {
		return nil
	}
	v.entries(func(name string, val value) {
		if !targetPattern.MatchString(name) || len(name) > maxTarget {
			val.fail(`%s is no name of a target: want letters, digits, "_", "." and "-", with a letter or digit first, at most %d`, quote(name), maxTarget)
		}
		all = append(all, target(name, val))
	})
	return all
}

func target(name string, v value) Target {
	f := v.fields("ssh", "identity", "into", "bandwidth", "resume")
	t := Target{Name: name}
	dest, hasSSH := f.get("ssh")
	into, hasInto := f.get("into")
	identity, hasIdentity := f.get("identity")
	switch {
	case hasSSH && hasInto:
		v.fail("has both ssh and into: make two targets of it")
	case hasIdentity && !hasSSH && f.ok:
		identity.fail("belongs to ssh, which is missing")
	case !hasSSH && !hasInto && f.ok:
		v.fail("has neither ssh nor into: want one of them")
	}
	if hasSSH {
		t.SSH = dest.destination()
	}
	if hasIdentity {
		t.Identity, _ = identity.path()
	}
	if hasInto {
		t.Into = into.intos()
	}
	if b, ok := f.get("bandwidth"); ok {
		t.Bandwidth = b.bandwidth()
	}
	if r, ok := f.get("resume"); ok {
		t.Resume = r.truth()
		if hasSSH {
			r.fail("belongs to into: on a backup server `volsnap serve --resume` decides")
		}
	}
	return t
}

func (v value) destination() string {
	s, ok := v.str("volsnap@backup.example.org")
	if ok && (!sshPattern.MatchString(s) || len(s) > maxName) {
		v.fail("%s is no destination: want user@host, a Host of ssh's configuration, or ssh://user@host:port", quote(s))
	}
	return s
}

// intos reads one place, or a list of them.
func (v value) intos() []Into {
	var all []string
	if v.kind == list {
		v.each("[btrfs:/mnt/backup]", func(item value) {
			if s, ok := item.str("btrfs:/mnt/backup"); ok {
				all = append(all, s)
			}
		})
		if len(v.items) == 0 {
			v.fail("is empty: name a place, such as btrfs:/mnt/backup")
		}
	} else if s, ok := v.str("btrfs:/mnt/backup"); ok {
		all = append(all, s)
	}
	out, err := ParseIntos(all)
	if err != nil {
		v.fail("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return out
}

const (
	leastBandwidth = 1 << 10
	mostBandwidth  = 1 << 50
)

// bandwidth is bytes a second, such as 50MiB/s.
func (v value) bandwidth() int64 {
	s, ok := v.str("50MiB/s")
	if !ok {
		return 0
	}
	size, perSecond := strings.CutSuffix(s, "/s")
	n, err := humanize.ParseBytes(size)
	switch {
	case !perSecond || err != nil || size == "" || strings.Trim(size, "0123456789") == "":
		v.fail("%s is no bandwidth: want one such as 50MiB/s", quote(s))
	case n < leastBandwidth || n > mostBandwidth:
		v.fail("%s is out of range: want 1KiB/s to 1PiB/s", s)
	default:
		return int64(n)
	}
	return 0
}

func (v value) truth() bool {
	switch v.kind {
	case boolean:
		return strings.EqualFold(v.text, "true")
	case none:
		v.fail("is empty: want true or false")
	default:
		v.fail("want true or false, got %s", v.node)
	}
	return false
}

// replication reads the targets of an app, of those that the file has.
func replication(v value, known []string) []Replication {
	var all []Replication
	v.each("[{target: backup}]", func(item value) {
		f := item.fields("target", "skip_intermediate")
		var r Replication
		name, ok := f.get("target")
		switch {
		case !ok && f.ok:
			item.fail("has no target: want the name of one, such as {target: backup}")
		case ok:
			r.Target, _ = name.str("backup")
			if r.Target != "" && !slices.Contains(known, r.Target) {
				name.fail("no target %s%s", quote(r.Target), suggest(r.Target, known, "targets"))
			}
		}
		if skip, ok := f.get("skip_intermediate"); ok {
			r.SkipIntermediate = skip.truth()
		}
		if r.Target != "" && slices.ContainsFunc(all, func(o Replication) bool { return o.Target == r.Target }) {
			name.fail("%s is listed twice", quote(r.Target))
		}
		all = append(all, r)
	})
	return all
}
