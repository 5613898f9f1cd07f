package lvm

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
)

// difference is what a run of blocks of a thin volume is, compared with another one.
type difference byte

// The differences that thin_delta(8) tells apart.
const (
	shared  difference = iota + 1 // mapped to the same place
	changed                       // mapped to different places; what they hold may be equal
	added                         // mapped in the newer one only
	gone                          // mapped in the older one only
)

var differences = map[string]difference{"same": shared, "different": changed, "right_only": added, "left_only": gone}

// run is so many blocks.
type run struct {
	begin, length uint64
	is            difference
}

// delta is all that is mapped in one of two volumes.
type delta struct {
	block int64 // bytes
	runs  []run // rising
}

var errDelta = errors.New("not what thin_delta writes")

// parseDelta reads what thin_delta 0.9 or 1.x writes of two volumes: XML, in which each run is an element of a diff of them.
func parseDelta(r io.Reader, left, right string) (delta, error) {
	var d delta
	inside := false
	dec := xml.NewDecoder(r)
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return delta{}, fmt.Errorf("%w: %w", errDelta, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "superblock":
			err = d.superblock(start)
		case "diff":
			if inside || attribute(start, "left") != left || attribute(start, "right") != right {
				err = fmt.Errorf("a difference of %s and %s, not of %s and %s", attribute(start, "left"), attribute(start, "right"), left, right)
			}
			inside = true
		default:
			if !inside {
				err = fmt.Errorf("%s is outside of a difference", start.Name.Local)
			} else {
				err = d.add(start)
			}
		}
		if err != nil {
			return delta{}, fmt.Errorf("%w: %w", errDelta, err)
		}
	}
	if !inside || d.block == 0 {
		return delta{}, fmt.Errorf("%w: there is no difference in it", errDelta)
	}
	return d, nil
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (d *delta) superblock(e xml.StartElement) error {
	sectors, err := strconv.ParseUint(attribute(e, "data_block_size"), 10, 32)
	if err != nil || sectors == 0 || d.block != 0 {
		return fmt.Errorf("blocks of %q sectors", attribute(e, "data_block_size"))
	}
	d.block = int64(sectors) * stream.Sector
	return nil
}

// add adds a run, to the one before if it goes on with it.
func (d *delta) add(e xml.StartElement) error {
	is, known := differences[e.Name.Local]
	begin, err := strconv.ParseUint(attribute(e, "begin"), 10, 64)
	length, bad := strconv.ParseUint(attribute(e, "length"), 10, 64)
	if err := errors.Join(err, bad); err != nil || !known || d.block == 0 {
		return fmt.Errorf("%s of %q blocks at %q", e.Name.Local, attribute(e, "length"), attribute(e, "begin"))
	}
	most := uint64(stream.MaxSize) / uint64(d.block)
	end := uint64(0)
	if n := len(d.runs); n > 0 {
		end = d.runs[n-1].begin + d.runs[n-1].length
	}
	if length == 0 || begin < end || begin > most || length > most-begin {
		return fmt.Errorf("%s of %d blocks at %d, after %d", e.Name.Local, length, begin, end)
	}
	if n := len(d.runs); n > 0 && begin == end && d.runs[n-1].is == is {
		d.runs[n-1].length += length
		return nil
	}
	d.runs = append(d.runs, run{begin, length, is})
	return nil
}
