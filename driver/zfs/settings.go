package zfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// settings are the properties, by name, that a file system does not just inherit or have by default: those that were set on it, or came
// with a stream.
type settings map[string]string

// never are the properties that go with the data of a file system, or with its key. The counts are there with the limits, as if they had
// been set.
var never = []string{"keylocation", "keyformat", "pbkdf2iters", "encryption", "filesystem_count", "snapshot_count"}

// limits are the properties that are of the room in a pool, and those that show a file system to others.
var limits = []string{
	"quota", "refquota", "reservation", "refreservation", "filesystem_limit", "snapshot_limit", "sharenfs", "sharesmb",
	canMount, mountPoint, "readonly",
}

// ownPrefix is that of the properties that are volsnap's.
const ownPrefix = "volsnap:"

// settingsOf reads those of a file system. A user property with a tab or a line break cannot be told from others: an error.
func settingsOf(ctx context.Context, name string) (settings, error) {
	out := settings{}
	seen := map[string]bool{}
	err := list(ctx, false, func(f []string) error {
		if len(f) != 3 || seen[f[0]] {
			return fmt.Errorf("%s: the properties of %s cannot be read at %q: has a user property a tab or a line break?: %w",
				"zfs get", name, f[0], driver.ErrNotSupported)
		}
		seen[f[0]] = true
		if (f[2] == local || f[2] == "received") && !strings.HasPrefix(f[0], ownPrefix) && !slices.Contains(never, f[0]) {
			out[f[0]] = f[1]
		}
		return nil
	}, "zfs", "get", "-Hp", "-t", "filesystem", "-o", "property,value,source", "all", name)
	return out, err
}

func (s settings) without(names ...string) settings {
	out := maps.Clone(s)
	for _, name := range names {
		delete(out, name)
	}
	return out
}

// placing are set after all others: with them a file system gets its place.
var placing = []string{mountPoint, canMount}

// room are the properties that can be refused for what there is in a file system or in its pool, in the order in which they are set.
var room = []string{"quota", "refquota", "reservation", "refreservation"}

// told is a setting as `zfs set` takes it: "0", as `zfs get -p` has it of a quota that was taken back, it does not.
func told(prop, value string) string {
	if value == "0" && slices.Contains(room, prop) {
		return unsetPoint
	}
	return value
}

// resets are the properties that are not inherited, with what they are when they were never set.
var resets = map[string]string{"quota": "none", "refquota": "none", "reservation": "none", "refreservation": "none", "filesystem_limit": "none", "snapshot_limit": "none"}

// apply gives a file system these settings, and no others, but for those of applyRoom.
func (s settings) apply(ctx context.Context, name string) error {
	have, err := settingsOf(ctx, name)
	if err != nil {
		return err
	}
	set, back := s.from(have)
	for _, argv := range back {
		if err := runIf(ctx, append(argv, name)); err != nil {
			return err
		}
	}
	for _, args := range set[:ofRoom] {
		if len(args) == 0 {
			continue
		}
		if err := runIf(ctx, slices.Concat([]string{"zfs", "set"}, args, []string{name})); err != nil {
			return err
		}
	}
	return nil
}

func runIf(ctx context.Context, argv []string) error {
	_, err := run(ctx, argv...)
	return err
}

// applyRoom gives a file system its quotas and reservations. One that is too small for what lies in it, or for which the pool has no room,
// is left out with a warning: there was another state in the dataset when it was set. It is owed to whatever takes the place next.
func (s settings) applyRoom(ctx context.Context, to *fileSys) error {
	have, err := settingsOf(ctx, to.name)
	if err != nil {
		return err
	}
	set, _ := s.from(have)
	owed := settings{}
	for _, arg := range set[ofRoom] {
		argv := []string{"zfs", "set", arg, to.name}
		err := runIf(ctx, argv)
		if errors.Is(err, driver.ErrNoSpace) {
			zerolog.Ctx(ctx).Warn().Str("dataset", to.name).Err(err).
				Msg("what was restored does not fit, and is without this setting: when it does, " + command.Quote(argv))
			prop, value, _ := strings.Cut(arg, "=")
			owed[prop] = value
			continue
		}
		if err != nil {
			return err
		}
	}
	if len(owed) > 0 {
		text, err := pack(owed)
		if err != nil {
			return err
		}
		return runIf(ctx, []string{"zfs", "set", owedProp + "=" + text, to.name})
	}
	if to.owed != "" {
		return runIf(ctx, []string{"zfs", "inherit", owedProp, to.name})
	}
	return nil
}

// owedProp has what applyRoom has left out.
const owedProp = "volsnap:owed"

// withOwed adds what is owed to the place of a file system with these settings, unless somebody has set it by now. What volsnap did not
// write is not owed.
func (s settings) withOwed(text string) settings {
	out := maps.Clone(s)
	owed := settings{}
	if packed, err := unpack(text); err != nil || json.Unmarshal(packed, &owed) != nil {
		return out
	}
	for _, prop := range room {
		_, err := strconv.ParseUint(owed[prop], 10, 64)
		if is := out[prop]; err == nil && (is == "" || told(prop, is) == unsetPoint) {
			out[prop] = owed[prop]
		}
	}
	return out
}

// The steps in which settings are set.
const (
	ofAll = iota
	ofPlace
	ofRoom
	steps
)

// from is what has to be set, by steps, and the commands that take back what is not to be.
func (s settings) from(have settings) (set [steps][]string, back [][]string) {
	for _, prop := range slices.Concat(slices.Sorted(maps.Keys(s.without(room...))), room) {
		value, wanted := s[prop]
		if is, has := have[prop]; !wanted || has && told(prop, is) == told(prop, value) {
			continue
		}
		step := ofAll
		switch {
		case slices.Contains(placing, prop):
			step = ofPlace
		case slices.Contains(room, prop):
			step = ofRoom
		}
		set[step] = append(set[step], prop+"="+told(prop, value))
	}
	for _, prop := range slices.Sorted(maps.Keys(have)) {
		reset, is := resets[prop]
		if _, stays := s[prop]; stays || is && told(prop, have[prop]) == reset {
			continue
		}
		switch {
		case is:
			back = append(back, []string{"zfs", "set", prop + "=" + reset})
		case prop == canMount:
			back = append(back, []string{"zfs", "inherit", "-S", prop})
		default:
			back = append(back, []string{"zfs", "inherit", prop})
		}
	}
	return set, back
}

// placeProp has the place of a dataset while another one is swapped into it.
const placeProp = "volsnap:place"

const placeVersion = 1

// where is the place that a dataset has among others: what is as before when another one is in it.
type where struct {
	Version  int      `json:"version"`
	Settings settings `json:"settings"`
	Of       string   `json:"of,omitempty"`    // the GUID of the one whose place it was
	Mount    *point   `json:"mount,omitempty"` // nil: it was not mounted
}

// point is where a file system is mounted.
type point struct {
	At      string   `json:"at"`
	Options []string `json:"options"`
}

// placeLimit is how long the text of a place can be.
const placeLimit = valueLimit

func (w where) encode() (string, error) {
	text, err := pack(w)
	if err == nil && len(text) > placeLimit {
		err = fmt.Errorf("its properties are %d bytes, and there is room for %d: %w", len(text), placeLimit, driver.ErrNotSupported)
	}
	return text, err
}

func parsePlace(text string) (where, error) {
	var w where
	err := decode(text, placeVersion, &w)
	if err == nil && w.Version != placeVersion {
		err = fmt.Errorf("version %d, not %d", w.Version, placeVersion)
	}
	if err == nil && w.Mount != nil && (!filepath.IsAbs(w.Mount.At) || slices.ContainsFunc(w.Mount.Options, func(o string) bool { return !slices.Contains(mountOptions, o) })) {
		err = fmt.Errorf("mounted at %q with %q", w.Mount.At, w.Mount.Options)
	}
	if err == nil && w.Of != "" && !validGUID(w.Of) {
		err = fmt.Errorf("of a GUID %.100q", w.Of)
	}
	for prop := range w.Settings {
		if err == nil && (prop == "" || strings.ContainsAny(prop, "= \t\n") || strings.HasPrefix(prop, "-") || strings.HasPrefix(prop, ownPrefix)) {
			err = fmt.Errorf("a property %q", prop)
		}
	}
	if err != nil {
		return where{}, fmt.Errorf("what volsnap noted in %s is damaged: %w", placeProp, err)
	}
	return w, nil
}

// mountOptions are those of any mount that are kept.
var mountOptions = []string{"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "strictatime", "sync", "dirsync"}

func optionsOf(m mountinfo.Mount) []string {
	var out []string
	for _, option := range m.Options {
		if slices.Contains(mountOptions, option) && !slices.Contains(out, option) {
			out = append(out, option)
		}
	}
	if slices.Contains(out, "ro") { // of the mount or of the file system
		out = slices.DeleteFunc(out, func(o string) bool { return o == "rw" })
	}
	return out
}

// ensureMounted lets ZFS mount a file system where its properties say, unless it is.
func ensureMounted(ctx context.Context, name string) error {
	at, err := ownMounts(name)
	if err != nil || len(at) > 0 {
		return err
	}
	_, err = run(ctx, "zfs", "mount", name)
	if err != nil && strings.Contains(err.Error(), "already mounted") {
		err = nil
	}
	return err
}

func ownMounts(name string) ([]mounted, error) {
	at, err := mountsOf(name)
	return slices.DeleteFunc(at, func(m mounted) bool { return !m.own }), err
}

// mount mounts a file system where another one was.
func (p point) mount(ctx context.Context, name string) error {
	at, err := ownMounts(name)
	if err != nil || slices.ContainsFunc(at, func(m mounted) bool { return m.Point == p.At }) {
		return err
	}
	if mountpoint, err := run(ctx, "zfs", "get", "-Hp", "-o", "value", mountPoint, name); err != nil {
		return err
	} else if strings.TrimSuffix(mountpoint, "\n") == p.At {
		return ensureMounted(ctx, name)
	}
	_, err = run(ctx, "mount", "-i", "-c", "-t", "zfs", "-o", strings.Join(p.Options, ","), "--", name, p.At)
	return err
}

// errSeveral is a file system that is mounted more than once.
var errSeveral = errors.New("it is mounted more than once")

// pointOf is where a file system is mounted; nil if it is not. ErrBusy: at several places.
func pointOf(name string) (*point, error) {
	at, err := ownMounts(name)
	switch {
	case err != nil || len(at) == 0:
		return nil, err
	case len(at) > 1 || at[0].Root != "/":
		var points []string
		for _, m := range at {
			points = append(points, m.Point)
		}
		return nil, fmt.Errorf("%s: %w, or a directory of it: %q: %w", name, errSeveral, points, driver.ErrBusy)
	}
	return &point{At: at[0].Point, Options: optionsOf(at[0].Mount)}, nil
}
