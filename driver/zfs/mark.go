package zfs

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	sealProp    = "volsnap:sealed"
	markVersion = "1"
	unsealed    = "unsealed" // a class that says that it is not; see Unseal
	markMembers = 64         // in one value at most: `zfs set` gives the same one to all that it names
)

// mark is the value of volsnap:sealed: "1 <class> <taken, in ns since 1970> <member>:<guid> ...". It names the GUIDs of the
// snapshots that it was set on, so it means nothing on any other that has inherited or was given it.
type mark struct {
	class   string
	taken   time.Time
	members map[string]int // by GUID
}

var (
	class      = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)
	errBadMark = errors.New("its seal is damaged")
)

func (m mark) encode(guids []string) string {
	parts := []string{markVersion, m.class, strconv.FormatInt(m.taken.UnixNano(), 10)}
	for _, guid := range guids {
		parts = append(parts, strconv.Itoa(m.members[guid])+":"+guid)
	}
	return strings.Join(parts, " ")
}

func parseMark(value string) (mark, error) {
	parts := strings.Split(value, " ")
	if len(parts) < 4 || len(parts) > 3+markMembers || parts[0] != markVersion || !class.MatchString(parts[1]) {
		return mark{}, errBadMark
	}
	ns, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return mark{}, fmt.Errorf("%w: %w", errBadMark, err)
	}
	m := mark{class: parts[1], taken: time.Unix(0, ns), members: map[string]int{}}
	for _, part := range parts[3:] {
		member, guid, _ := strings.Cut(part, ":")
		k, err := strconv.Atoi(member)
		if err != nil || k < 1 || !validGUID(guid) || m.members[guid] != 0 {
			return mark{}, errBadMark
		}
		m.members[guid] = k
	}
	return m, nil
}
