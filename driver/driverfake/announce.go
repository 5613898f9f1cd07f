package driverfake

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// checkAnnounced finds what nobody could mean.
func checkAnnounced(kind string, req driver.ReceiveRequest) error {
	s := req.Snapshot
	if _, err := driver.ParseSetID(string(s.Set)); err != nil {
		return err
	}
	for _, guid := range []string{s.GUID, req.Base} {
		if len(guid) > 64 || strings.ContainsFunc(guid, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef-", r) }) {
			return fmt.Errorf("GUID %.80q", guid)
		}
	}
	name := s.Dataset.Name
	size := 0
	for _, v := range s.Volumes {
		size += len(v.Name) + len(v.Path)
		if strings.HasPrefix(v.Path+"/", "../") || path.IsAbs(v.Path) || path.Clean(v.Path) != v.Path {
			return fmt.Errorf("volume %q at %q", v.Name, v.Path)
		}
	}
	switch {
	case s.Dataset.Kind != kind:
		return fmt.Errorf("it is of kind %q: %w", s.Dataset.Kind, driver.ErrNotSupported)
	case !path.IsAbs(name) || path.Clean(name) != name || name == "/" || len(name) > 4096:
		return fmt.Errorf("dataset %.80q", name)
	case s.Member < 1 || s.Member > s.Of || s.GUID == "" || s.GUID == req.Base || size > 1<<20:
		return fmt.Errorf("member %d of %d, GUID %q, base %q, %d bytes of volumes", s.Member, s.Of, s.GUID, req.Base, size)
	}
	return nil
}

// readAll reads until the end, or that of ctx; one Read may then go on behind it.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		stream []byte
		err    error
	}
	done := make(chan result, 1)
	go func() {
		stream, err := io.ReadAll(r)
		if err != nil {
			err = fmt.Errorf("%w: %w", driver.ErrBadStream, err)
		}
		done <- result{stream, err}
	}()
	select {
	case got := <-done:
		return got.stream, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
