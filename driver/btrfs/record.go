package btrfs

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dennwc/btrfs"

	"github.com/volsnap/volsnap/driver"
)

const (
	recordVersion  = 1       // of a snapshot that was taken on this host
	replicaVersion = 2       // of one that was received
	recordLimit    = 1 << 20 // bytes; what is larger was not written by us
)

// record is what lies beside a snapshot. A field that a later version adds needs a new recordVersion: what is not
// understood is left alone.
type record struct {
	Version     int             `json:"version"`
	Set         driver.SetID    `json:"set"`
	Member      int             `json:"member"`
	Of          int             `json:"of"`
	Volumes     []driver.Volume `json:"volumes"`
	Source      string          `json:"source"`                // the subvolume's path from the top of its file system; of a replica, its dataset's name at the source
	SourceUUID  string          `json:"source_uuid,omitempty"` // a snapshot that is not sealed is ours if it was made from this one
	Base        string          `json:"base,omitempty"`        // of a replica: GUID of what its stream built on
	GUID        string          `json:"guid,omitempty"`
	Sealed      bool            `json:"sealed"`
	Consistency string          `json:"consistency,omitempty"`
	Taken       time.Time       `json:"taken,omitzero"`
	Pins        []string        `json:"pins,omitempty"`
}

// errDamaged is a record that volsnap did not write like this.
var errDamaged = errors.New("its record is damaged")

// parseRecord accepts what encode makes, and nothing that could mislead.
func parseRecord(text []byte) (record, error) {
	var r record
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		var head struct {
			Version int `json:"version"`
		}
		if json.Unmarshal(text, &head) == nil && head.Version > replicaVersion {
			return record{}, fmt.Errorf("%w: version %d is of a newer volsnap", errDamaged, head.Version)
		}
		return record{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return record{}, fmt.Errorf("%w: more than one value", errDamaged)
	}
	if err := r.check(); err != nil {
		return record{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, nil
}

func (r record) encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err == nil && len(text) >= recordLimit {
		err = fmt.Errorf("record of %d bytes: at most %d", len(text), recordLimit)
	}
	return append(text, '\n'), err
}

// check finds what no record of ours has.
func (r record) check() error {
	if _, err := driver.ParseSetID(string(r.Set)); err != nil {
		return err
	}
	switch {
	case r.Version != recordVersion && !r.isReplica():
		return fmt.Errorf("version %d, not %d or %d", r.Version, recordVersion, replicaVersion)
	case r.Member < 1 || r.Member > r.Of:
		return fmt.Errorf("member %d of %d", r.Member, r.Of)
	case !strings.HasPrefix(r.Source, "/") || path.Clean(r.Source) != r.Source || !text(r.Source):
		return fmt.Errorf("source %q is no clean absolute path", r.Source)
	case r.isReplica() && r.SourceUUID != "", !r.isReplica() && !validUUID(r.SourceUUID):
		return fmt.Errorf("source UUID %q", r.SourceUUID)
	case r.Base != "" && !(r.isReplica() && validUUID(r.Base)):
		return fmt.Errorf("base %q", r.Base)
	case r.GUID != "" && !validUUID(r.GUID) || r.GUID == "" && (r.Sealed || r.isReplica()):
		return fmt.Errorf("GUID %q", r.GUID)
	case !text(r.Consistency) || len(r.Consistency) > 32:
		return fmt.Errorf("consistency %q", r.Consistency)
	case !slices.IsSorted(r.Pins) || len(slices.Compact(slices.Clone(r.Pins))) != len(r.Pins):
		return errors.New("pins are not sorted, or not unique")
	}
	for _, p := range r.Pins {
		if err := driver.CheckPin(p); err != nil {
			return err
		}
	}
	for _, v := range r.Volumes {
		inside := !strings.HasPrefix(v.Path+"/", "../") && !path.IsAbs(v.Path)
		if v.Name == "" || !text(v.Name) || !text(v.Path) || path.Clean(v.Path) != v.Path || !inside {
			return fmt.Errorf("volume %q at %q", v.Name, v.Path)
		}
		if !text(strings.Join(v.NotOlderThan, "")) {
			return fmt.Errorf("volume %q is not to be older than %q", v.Name, v.NotOlderThan)
		}
	}
	return nil
}

// isReplica reports whether the record is of a snapshot that was received.
func (r record) isReplica() bool { return r.Version == replicaVersion }

// text reports whether a string comes back from JSON as it went there, and cannot end a C string.
func text(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func validUUID(s string) bool {
	_, ok := parseUUID(s)
	return ok
}

// parseUUID accepts what String of a UUID that is not zero says.
func parseUUID(s string) (btrfs.UUID, bool) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != btrfs.UUIDSize {
		return btrfs.UUID{}, false
	}
	id := btrfs.UUID(raw)
	return id, !id.IsZero() && id.String() == s
}

// judge says whether the record speaks of this snapshot, and what is wrong with it if it does.
func (r record) judge(s subvol) (ours bool, fault string) {
	same := r.GUID != "" && (!r.isReplica() && s.uuid.String() == r.GUID || s.received.String() == r.GUID)
	switch {
	case r.Sealed && !same:
		return true, fmt.Sprintf("has the UUID %s, not %s as when it was sealed", s.uuid, r.GUID)
	case r.GUID != "" && !same, r.GUID == "" && s.from.String() != r.SourceUUID:
		return false, ""
	case !s.readOnly:
		return true, "is writable"
	}
	return true, ""
}

// guid of a snapshot that the record speaks of.
func (r record) guid(s subvol) string {
	if r.GUID != "" {
		return r.GUID
	}
	return s.uuid.String()
}
