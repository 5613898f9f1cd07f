package drill

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
)

// The beginning of global/pg_control (ControlFileData in src/include/catalog/pg_control.h): the version, 1201 in PostgreSQL 12, is at 8,
// the position of the last checkpoint at 32, and that from which recovery begins, with its timeline, at 40 and 48.
const (
	controlSize    = 52
	controlVersion = 8
	controlPoint   = 32
	controlRedo    = 40
	controlLine    = 48
	leastControl   = 1201
)

// The first page of a segment (XLogLongPageHeaderData in src/include/access/xlog_internal.h): the position that it is for is at 8, and
// the size of segments at 32. A segment that was kept to be written over has the position of what it held before.
const (
	pageSize    = 40
	pageAddress = 8
	pageSegment = 32
)

var segmentName = regexp.MustCompile(`^[0-9A-F]{24}$`)

// checkLog looks whether the segments of the write-ahead log that recovery needs are there. PostgreSQL takes a gap for the end of the
// log, and comes up without what was written after it.
func (t *trial) checkLog(db database, name string) error {
	detail, err := gap(db.dir, db.partOf(walDir))
	if err != nil {
		t.fail(name, "%v", err)
	} else {
		t.pass(name, "%s", detail)
	}
	return err
}

// gap is an error if a segment is missing.
func gap(data, wal string) (string, error) {
	root, err := os.OpenRoot(data)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	control, err := beginning(root, controlFile, controlSize)
	if err != nil {
		return "", err
	}
	if v := binary.LittleEndian.Uint32(control[controlVersion:]); v < leastControl {
		return "", fmt.Errorf("pg_control is of version %d, which is that of no PostgreSQL since %d", v, oldest)
	}
	point, redo := binary.LittleEndian.Uint64(control[controlPoint:]), binary.LittleEndian.Uint64(control[controlRedo:])
	have, size, err := segments(wal, binary.LittleEndian.Uint32(control[controlLine:]))
	if err != nil {
		return "", err
	}
	if len(have) == 0 {
		return "", fmt.Errorf("pg_wal has no segment, and recovery begins at %s", lsnText(redo))
	}
	first, last := redo/size, point/size
	for n := range have {
		last = max(last, n)
	}
	for n := first; n <= last; n++ {
		if !have[n] {
			return "", fmt.Errorf("a segment is missing in pg_wal: that of %s; recovery needs those from %s to %s", lsnText(n*size), lsnText(redo), lsnText(last*size))
		}
	}
	return fmt.Sprintf("%d segments from %s on", last-first+1, lsnText(redo)), nil
}

// segments are the numbers of those that hold log of a timeline or a newer one, and their size.
func segments(wal string, line uint32) (have map[uint64]bool, size uint64, err error) {
	root, err := os.OpenRoot(wal)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = root.Close() }()
	dir, err := root.Open(".")
	if err != nil {
		return nil, 0, err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, 0, err
	}
	have = map[uint64]bool{}
	for _, name := range names {
		if !segmentName.MatchString(name) || number(name[:8]) < uint64(line) {
			continue
		}
		page, err := beginning(root, name, pageSize)
		if err != nil {
			return nil, 0, err
		}
		each := uint64(binary.LittleEndian.Uint32(page[pageSegment:]))
		if each < 1<<20 || each > 1<<30 || each&(each-1) != 0 {
			continue // it was never written to
		}
		n := number(name[8:16])*(1<<32/each) + number(name[16:])
		if size = each; binary.LittleEndian.Uint64(page[pageAddress:]) == n*each {
			have[n] = true
		}
	}
	return have, size, nil
}

func number(hex string) uint64 {
	n, _ := strconv.ParseUint(hex, 16, 64) // by the pattern it is one
	return n
}

func beginning(root *os.Root, name string, size int) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

func lsnText(at uint64) string { return fmt.Sprintf("%X/%X", at>>32, uint32(at)) }
