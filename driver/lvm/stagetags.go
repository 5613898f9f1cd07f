package lvm

import (
	"regexp"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// The tags of a stage, and of the two volumes of a swap:
//
//	volsnap-stage.name=<LV>            what the volume is called as a stage; it is one as long as it is called so
//	volsnap-stage.place=<LV>           the volume in whose place it was, is to be, or is being put
//	volsnap-stage.mounts.1.2=<base64>  where that was mounted, until it is mounted there again
//	volsnap-stage.line=<UUID>          a volume whose place this one has taken, and of which there are snapshots
//
// A volume whose place is another than its name is aside: what is known of the place is on the other one.
const (
	stageMarks   = "volsnap-stage."
	stageNameTag = stageMarks + "name="
	placeTag     = stageMarks + "place="
	lineTag      = stageMarks + "line="
	mountsPrefix = stageMarks + "mounts."
)

// Names of stages, and of volumes between two names. No snapshot is a stage: it has other tags.
const (
	stagePrefix = "volsnap-stage-"
	thirdPrefix = "volsnap-swap-"
)

var stageNamePattern = regexp.MustCompile(`^` + stagePrefix + `([a-zA-Z0-9.-]{1,60})\.[A-Za-z0-9]{6}$`)

func stageName(name, guid string) string { return stagePrefix + name + "." + short(guid) }

func isStageName(lv string) bool {
	m := stageNamePattern.FindStringSubmatch(lv)
	return len(m) == 2 && driver.CheckStage(m[1]) == nil
}

// thirdName is what one of two volumes is called while they change names.
func thirdName(stage string) string { return thirdPrefix + strings.TrimPrefix(stage, stagePrefix) }

// tagged is what a tag that begins so says, or empty.
func (v lv) tagged(begin string) string {
	for _, tag := range v.tags() {
		if rest, ok := strings.CutPrefix(tag, begin); ok {
			return rest
		}
	}
	return ""
}

// isStage reports whether a volume is a stage: a tag that was copied to another one, or stayed on a renamed one, makes none.
func (v lv) isStage() bool {
	return v.thin() && isStageName(v.Name) && v.tagged(stageNameTag) == v.Name && validUUID(v.UUID)
}

// isNewStage reports whether a volume is a stage that was never put in a place.
func (v lv) isNewStage() bool { return v.isStage() && v.tagged(placeTag) == "" }

// aside is the name of the volume in whose place another is, or will be when the swap of the two has ended; empty for a volume that
// is where it belongs.
func (v lv) aside() string {
	if place := v.tagged(placeTag); place != v.Name && validName(place) {
		return place
	}
	return ""
}

// line are the UUIDs of volumes whose place this one has taken.
func (v lv) line() []string {
	var out []string
	for _, tag := range v.tags() {
		if uuid, ok := strings.CutPrefix(tag, lineTag); ok && validUUID(uuid) {
			out = append(out, uuid)
		}
	}
	return out
}

// others are the tags of a volume that are not of stages.
func (v lv) others() []string {
	return slices.DeleteFunc(v.tags(), func(tag string) bool { return strings.HasPrefix(tag, stageMarks) })
}

// moved are, by UUID, the datasets of volumes that were replaced: whatever a snapshot of them was taken of, it is listed under the
// name that this has now.
type moved map[string]string

func homes(all []lv) moved {
	out := moved{}
	for _, v := range all {
		if place := v.aside(); place != "" {
			out[v.UUID] = v.VG + "/" + place
		}
	}
	for _, v := range all {
		if v.aside() != "" {
			continue
		}
		for _, uuid := range v.line() {
			out[uuid] = v.String()
		}
	}
	return out
}

// of is where a snapshot of ours belongs if that was replaced, or empty.
func (m moved) of(v lv) string {
	if len(m) == 0 {
		return ""
	}
	r, err := parseRecord(v.tags())
	if err != nil {
		return ""
	}
	return m[r.Origin]
}

// lines are the volumes whose snapshots are to be listed as those of a, once it has taken the place of b: without those that have none.
func lines(all []lv, a, b lv) []string {
	have := map[string]bool{}
	for _, v := range all {
		if _, ok := judge(v); ok {
			r, _ := parseRecord(v.tags()) // judge has looked
			have[r.Origin] = true
		}
	}
	wanted := slices.Concat([]string{b.UUID}, a.line(), b.line())
	slices.Sort(wanted)
	return slices.DeleteFunc(slices.Compact(wanted), func(uuid string) bool { return uuid == a.UUID || !have[uuid] })
}
