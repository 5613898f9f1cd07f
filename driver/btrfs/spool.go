package btrfs

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// spoolExt ends the name of a spool, after the name of the subvolume that is being received.
const spoolExt = ".spool"

// A spool is what has come of a stream, beside the subvolume that is made of it, so that a broken transfer can go on: a line
// that says of what, then chunks. Each chunk has its length, the SHA-256 of what it holds, that of the whole stream up to its
// end, and what it holds. What is in a spool is believed no more than what comes over the line: it is checked again, and
// applied from its beginning.
const (
	spoolChunk  = 1 << 20
	chunkHeader = 4 + 2*sha256.Size
	spoolLine   = 4096 // bytes, at most
)

// spoolHead is the first line.
type spoolHead struct {
	Version int    `json:"version"`
	GUID    string `json:"guid"`
	Base    string `json:"base,omitempty"`
}

// spool is an open one. It is an io.Reader of the stream: of what is kept, then of what comes, which it keeps.
type spool struct {
	f    *os.File
	dir  *os.File
	name string
	in   io.Reader

	old    int64 // bytes of the stream that are yet to be read from the file
	size   int64 // bytes of the stream that were read so far
	want   token // what is kept has this sum; nothing if zero
	sum    hash.Hash
	buf    []byte
	left   []byte
	err    error // after left
	broken bool  // the line failed
}

// openSpool goes on with a spool where the token says, or begins one. ErrStale: what is kept does not fit the token.
func openSpool(dir *os.File, name string, head spoolHead, resume string, in io.Reader) (*spool, error) {
	s := &spool{dir: dir, name: name, in: in, sum: sha256.New(), buf: make([]byte, chunkHeader+spoolChunk)}
	flags := unix.O_RDWR | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	if resume == "" {
		if err := remove(dir, name); err != nil {
			return nil, err
		}
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0o600)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("nothing is kept of it: %w", driver.ErrStale)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	s.f = os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name))
	if resume == "" {
		err = s.begin(head)
	} else {
		err = s.goOn(head, resume)
	}
	if err != nil {
		return nil, errors.Join(err, s.f.Close())
	}
	return s, nil
}

func (s *spool) begin(head spoolHead) error {
	line, err := json.Marshal(head)
	if err == nil {
		_, err = s.f.Write(append(line, '\n'))
	}
	return err
}

// goOn finds the end of the chunk that the token speaks of, and forgets what is behind it.
func (s *spool) goOn(head spoolHead, resume string) error {
	want, err := parseToken(resume)
	if err != nil {
		return err
	}
	have, start, err := readSpoolHead(s.f)
	if err != nil || have != head {
		return errors.Join(err, fmt.Errorf("what is kept is of %s on top of %q: %w", have.GUID, have.Base, driver.ErrStale))
	}
	end, err := scanChunks(s.f, start, func(t token, _, _ int64) bool { return t == want })
	if err != nil {
		return err
	}
	if end == 0 {
		return fmt.Errorf("what is kept has no chunk that ends with token %s: %w", want, driver.ErrStale)
	}
	s.old, s.want = want.bytes, want
	if err := s.f.Truncate(end); err != nil {
		return err
	}
	_, err = s.f.Seek(start, io.SeekStart)
	return err
}

// readSpoolHead reads the first line, and tells where the chunks begin.
func readSpoolHead(f *os.File) (head spoolHead, start int64, err error) {
	line, err := bufio.NewReader(io.NewSectionReader(f, 0, spoolLine)).ReadBytes('\n')
	if err != nil {
		return head, 0, fmt.Errorf("%w: %w", driver.ErrStale, err)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&head); err != nil {
		return head, 0, fmt.Errorf("%w: %w", driver.ErrStale, err)
	}
	if head.Version != 1 || !validUUID(head.GUID) || head.Base != "" && !validUUID(head.Base) {
		return head, 0, fmt.Errorf("%q: %w", line, driver.ErrStale)
	}
	return head, int64(len(line)), nil
}

// scanChunks calls until with the token of each whole chunk, where its content begins and where it ends, and returns where the one
// ends for which until says so; 0 if it never does.
func scanChunks(f *os.File, start int64, until func(t token, from, to int64) bool) (end int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var t token
	for at := start; ; {
		var head [chunkHeader]byte
		if _, err := f.ReadAt(head[:], at); errors.Is(err, io.EOF) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		n := int64(binary.LittleEndian.Uint32(head[:]))
		from := at + chunkHeader
		if at = from + n; n == 0 || n > spoolChunk || at > st.Size() {
			return 0, nil
		}
		t.bytes += n
		t.sum = [sha256.Size]byte(head[4+sha256.Size:])
		if until(t, from, at) {
			return at, nil
		}
	}
}

// Read implements io.Reader.
func (s *spool) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		if s.old > 0 {
			s.recall()
		} else {
			s.take()
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// recall reads one chunk that is kept.
func (s *spool) recall() {
	head, data := s.buf[:chunkHeader], s.buf[chunkHeader:]
	_, err := io.ReadFull(s.f, head)
	n := int64(binary.LittleEndian.Uint32(head))
	if err == nil && (n > s.old || n > int64(len(data))) {
		err = errors.New("a chunk is too long")
	}
	if err == nil {
		data = data[:n]
		_, err = io.ReadFull(s.f, data)
	}
	if err == nil && sha256.Sum256(data) != [sha256.Size]byte(head[4:]) {
		err = errors.New("a chunk is not what was kept")
	}
	if err != nil {
		s.err = fmt.Errorf("what was kept is damaged: %w: %w", driver.ErrStale, err)
		return
	}
	_, _ = s.sum.Write(data) // a hash does not fail
	s.old, s.size, s.left = s.old-n, s.size+n, data
	if s.old == 0 && [sha256.Size]byte(s.sum.Sum(nil)) != s.want.sum {
		s.left, s.err = nil, fmt.Errorf("what was kept is damaged: %w", driver.ErrStale)
	}
}

// take reads one chunk that comes, and keeps it.
func (s *spool) take() {
	data := s.buf[chunkHeader:]
	n, err := io.ReadFull(s.in, data)
	data = data[:n]
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	s.broken = err != nil && !errors.Is(err, io.EOF)
	s.err = err
	if n == 0 {
		return
	}
	own := sha256.Sum256(data)
	_, _ = s.sum.Write(data)
	binary.LittleEndian.PutUint32(s.buf, uint32(n))
	copy(s.buf[4:], own[:])
	copy(s.buf[4+sha256.Size:], s.sum.Sum(nil))
	fault.Point("before write of a spooled chunk")
	if _, err := s.f.Write(s.buf[:chunkHeader+n]); err != nil {
		s.err = err
		return
	}
	fault.Point("after write of a spooled chunk")
	s.size, s.left = s.size+int64(n), data
}

// end keeps the spool if the transfer broke, and removes it if it came to its end, good or bad.
func (s *spool) end(broke bool) error {
	if broke && s.size+s.old > 0 {
		return errors.Join(s.f.Sync(), s.f.Close(), s.dir.Sync())
	}
	fault.Point("before removal of a spool")
	return errors.Join(s.f.Close(), remove(s.dir, s.name))
}
