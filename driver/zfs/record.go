package zfs

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/volsnap/volsnap/driver"
)

const (
	recordVersion = 1
	recordProp    = "volsnap:record"

	valueLimit  = 8000    // of the 8191 bytes that a user property can have, zfsprops(7)
	valueParts  = 4       // so many properties at most
	packFrom    = 1000    // what is longer is compressed: each snapshot of the set carries it
	recordLimit = 1 << 20 // bytes; what unpacks to more was not written by us
	packed      = "z:"    // before a record that is compressed
)

// record is of a whole set, as far as it lies in one pool. A field that a later version adds needs a new recordVersion:
// what is not understood is left alone.
type record struct {
	Version int          `json:"version"`
	Set     driver.SetID `json:"set"`
	Of      int          `json:"of"`
	Items   []item       `json:"items"`
}

// item is one member.
type item struct {
	Member  int             `json:"member"`
	Dataset string          `json:"dataset"` // its GUID
	Volumes []driver.Volume `json:"volumes"`
}

// errDamaged is a record that volsnap did not write like this.
var errDamaged = errors.New("its record is damaged")

// recordProps are the properties that a record can be in.
func recordProps() []string {
	props := []string{recordProp}
	for n := 2; n <= valueParts; n++ {
		props = append(props, recordProp+"."+strconv.Itoa(n))
	}
	return props
}

// options are the arguments that give a snapshot this record.
func (r record) options() ([]string, error) {
	value, err := r.encode()
	if err != nil {
		return nil, err
	}
	var args []string
	for _, prop := range recordProps() {
		if value == "" {
			break
		}
		n := min(valueLimit, len(value))
		for n < len(value) && !utf8.RuneStart(value[n]) {
			n--
		}
		args = append(args, "-o", prop+"="+value[:n])
		value = value[n:]
	}
	if value != "" {
		return nil, fmt.Errorf("%d datasets with these volumes are more than one set can describe", len(r.Items))
	}
	return args, nil
}

func (r record) encode() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return pack(r)
}

// pack is the text of a record, compressed if it is long.
func pack(r any) (string, error) {
	text, err := json.Marshal(r)
	if err != nil || len(text) <= packFrom {
		return string(text), err
	}
	if len(text) > recordLimit {
		return "", fmt.Errorf("a record of %d bytes: at most %d", len(text), recordLimit)
	}
	var packedText bytes.Buffer
	w, err := flate.NewWriter(&packedText, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(text); err != nil {
		return "", err
	}
	err = w.Close()
	return packed + base64.RawStdEncoding.EncodeToString(packedText.Bytes()), err
}

// parseRecord accepts what encode makes, and nothing that could mislead.
func parseRecord(value string) (*record, error) {
	r := &record{}
	err := decode(value, recordVersion, r)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, nil
}

// decode is the inverse of pack, for a record of that version.
func decode(value string, version int, into any) error {
	text, err := unpack(value)
	if err != nil {
		return err
	}
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(text, &head) == nil && head.Version > version {
		return fmt.Errorf("version %d is of a newer volsnap", head.Version)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func unpack(value string) ([]byte, error) {
	body, isPacked := strings.CutPrefix(value, packed)
	if !isPacked {
		return []byte(value), nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(body)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), recordLimit+1))
	if err == nil && len(text) > recordLimit {
		err = fmt.Errorf("it unpacks to more than %d bytes", recordLimit)
	}
	return text, err
}

// check finds what no record of ours has.
func (r record) check() error {
	if _, err := driver.ParseSetID(string(r.Set)); err != nil {
		return err
	}
	if r.Version != recordVersion || len(r.Items) == 0 {
		return fmt.Errorf("version %d with %d items", r.Version, len(r.Items))
	}
	members, datasets := map[int]bool{}, map[string]bool{}
	for _, it := range r.Items {
		switch {
		case it.Member < 1 || it.Member > r.Of || members[it.Member]:
			return fmt.Errorf("member %d of %d", it.Member, r.Of)
		case !validGUID(it.Dataset) || datasets[it.Dataset]:
			return fmt.Errorf("dataset %q", it.Dataset)
		}
		members[it.Member], datasets[it.Dataset] = true, true
		if err := checkVolumes(it.Volumes); err != nil {
			return err
		}
	}
	return nil
}

func checkVolumes(volumes []driver.Volume) error {
	for _, v := range volumes {
		leaves := path.IsAbs(v.Path) || strings.HasPrefix(v.Path+"/", "../")
		if v.Name == "" || !text(v.Name) || !text(v.Path) || path.Clean(v.Path) != v.Path || leaves {
			return fmt.Errorf("volume %q at %q", v.Name, v.Path)
		}
		if !text(strings.Join(v.NotOlderThan, "")) {
			return fmt.Errorf("volume %q is not to be older than %q", v.Name, v.NotOlderThan)
		}
	}
	return nil
}

// text reports whether a string comes back from JSON and a property as it went there.
func text(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// validGUID accepts a GUID as ZFS prints it with -p.
func validGUID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n != 0 && strconv.FormatUint(n, 10) == s
}

// of finds an item.
func (r *record) of(fits func(item) bool) (item, bool) {
	for _, it := range r.Items {
		if fits(it) {
			return it, true
		}
	}
	return item{}, false
}
