package lvm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/volsnap/volsnap/driver"
)

// The tags of ours, see lvm(8) for what a tag may hold:
//
//	volsnap.1.2=<base64url>                            the record as JSON, part 1 of 2
//	volsnap.sealed=<class>/<own UUID>/<nanoseconds>    the seal, with the time at which the snapshot was there
//	volsnap.pin=<base64url>                            a reason
const (
	tagPrefix = "volsnap."
	sealName  = "sealed="
	pinName   = "pin="
	sealTag   = tagPrefix + sealName
	pinTag    = tagPrefix + pinName

	recordVersion = 1
	partSize      = 900 // bytes of base64; a tag holds 1024
	maxParts      = 24  // LVM's shell takes 64 arguments
)

// record is what a snapshot is born with. The metadata of a volume group has room for some 500 KiB, hence short names. A
// field that a later version adds needs a new version: what is not understood is left alone.
type record struct {
	Version int             `json:"v"`
	Set     driver.SetID    `json:"set"`
	Member  int             `json:"k"`
	Of      int             `json:"n"`
	LV      string          `json:"lv"`   // what the origin was called
	Origin  string          `json:"uuid"` // the origin's
	Volumes []driver.Volume `json:"volumes"`
}

var errDamaged = errors.New("its record is damaged")

// tags are the record as tags.
func (r record) tags() ([]string, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return inParts(tagPrefix, r)
}

// inParts is a record as tags that begin with prefix.
func inParts(prefix string, record any) ([]string, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	parts := slices.Collect(slices.Chunk([]byte(base64.RawURLEncoding.EncodeToString(text)), partSize))
	if len(parts) > maxParts {
		return nil, fmt.Errorf("its record has %d bytes: too many volumes, or too long names", len(text))
	}
	var out []string
	for i, part := range parts {
		out = append(out, fmt.Sprintf("%s%d.%d=%s", prefix, i+1, len(parts), part))
	}
	return out, nil
}

var partPattern = regexp.MustCompile(`^([1-9][0-9]?)\.([1-9][0-9]?)=([A-Za-z0-9_-]{1,1000})$`)

// parseRecord accepts what tags makes, and nothing that could mislead.
func parseRecord(tags []string) (record, error) {
	text, err := joinParts(tagPrefix, tags)
	if err != nil {
		return record{}, err
	}
	return decode[record](text)
}

// joinParts is the inverse of inParts, up to the text.
func joinParts(prefix string, tags []string) ([]byte, error) {
	var parts [maxParts]string
	count := 0
	for _, tag := range tags {
		m := partPattern.FindStringSubmatch(strings.TrimPrefix(tag, prefix))
		if m == nil || !strings.HasPrefix(tag, prefix) {
			continue
		}
		i, _ := strconv.Atoi(m[1]) // the pattern has looked
		n, _ := strconv.Atoi(m[2])
		if n > maxParts || i > n || count != 0 && n != count || parts[i-1] != "" {
			return nil, fmt.Errorf("%w: part %d of %d", errDamaged, i, n)
		}
		parts[i-1], count = m[3], n
	}
	if count == 0 || slices.Contains(parts[:count], "") {
		return nil, fmt.Errorf("%w: it is not whole", errDamaged)
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.Join(parts[:count], ""))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return text, nil
}

// decode reads a record and checks it.
func decode[T interface{ check() error }](text []byte) (T, error) {
	var r, none T
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return none, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return none, fmt.Errorf("%w: more than one value", errDamaged)
	}
	if err := r.check(); err != nil {
		return none, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, nil
}

// check finds what no record of ours has.
func (r record) check() error {
	if _, err := driver.ParseSetID(string(r.Set)); err != nil {
		return err
	}
	switch {
	case r.Version != recordVersion:
		return fmt.Errorf("version %d, not %d", r.Version, recordVersion)
	case r.Member < 1 || r.Member > r.Of:
		return fmt.Errorf("member %d of %d", r.Member, r.Of)
	case !validName(r.LV):
		return fmt.Errorf("origin %q", r.LV)
	case !validUUID(r.Origin):
		return fmt.Errorf("UUID %q of the origin", r.Origin)
	}
	return checkVolumes(r.Volumes)
}

func checkVolumes(all []driver.Volume) error {
	for _, v := range all {
		outside := path.IsAbs(v.Path) || strings.HasPrefix(v.Path+"/", "../")
		if v.Name == "" || !text(v.Name) || !text(v.Path) || path.Clean(v.Path) != v.Path || outside {
			return fmt.Errorf("volume %q at %q", v.Name, v.Path)
		}
		if !text(strings.Join(v.NotOlderThan, "")) {
			return fmt.Errorf("volume %q is not to be older than %q", v.Name, v.NotOlderThan)
		}
	}
	return nil
}

// text reports whether a string comes back from JSON as it went there, and cannot end a C string.
func text(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// seal says that a snapshot is a member of a finished set.
type seal struct {
	consistency string
	uuid        string // the snapshot's own
	taken       time.Time
}

var classPattern = regexp.MustCompile(`^[a-z]{1,32}$`)

func (s seal) tag() (string, error) {
	if !classPattern.MatchString(s.consistency) || !validUUID(s.uuid) {
		return "", fmt.Errorf("consistency %q of %q", s.consistency, s.uuid)
	}
	ns := int64(0)
	if !s.taken.IsZero() {
		ns = s.taken.UnixNano()
	}
	return fmt.Sprintf("%s%s/%s/%d", sealTag, s.consistency, s.uuid, ns), nil
}

func parseSeal(tag string) (seal, bool) {
	parts := strings.Split(strings.TrimPrefix(tag, sealTag), "/")
	if len(parts) != 3 || !classPattern.MatchString(parts[0]) || !validUUID(parts[1]) {
		return seal{}, false
	}
	ns, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || strconv.FormatInt(ns, 10) != parts[2] {
		return seal{}, false
	}
	s := seal{consistency: parts[0], uuid: parts[1]}
	if ns != 0 {
		s.taken = time.Unix(0, ns).UTC()
	}
	return s, true
}

func pinOf(reason string) string { return pinTag + pinText(reason) }

func pinText(reason string) string { return base64.RawURLEncoding.EncodeToString([]byte(reason)) }

func parsePin(tag string) (string, bool) { return parsePinText(strings.TrimPrefix(tag, pinTag)) }

func parsePinText(s string) (string, bool) {
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || driver.CheckPin(string(text)) != nil {
		return "", false
	}
	return string(text), true
}
