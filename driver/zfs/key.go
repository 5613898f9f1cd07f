package zfs

import (
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"strings"
)

const (
	keyReadable = 40 // bytes of the source's name that stay readable
	keySum      = 4  // bytes of its hash
)

// keyPattern is what keyOf makes.
var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*-[0-9a-f]{8}$`)

// keyOf is the last part of the name of the file system that holds the replicas of a dataset, by the name of that; and of another one
// for the same, by more that tells them apart.
func keyOf(source string, more ...string) string {
	clean := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '_'
	}, path.Base(source))
	clean = strings.TrimLeft(clean[:min(len(clean), keyReadable)], ".-")
	if clean == "" {
		clean = "_"
	}
	sum := sha256.Sum256([]byte(strings.Join(append([]string{source}, more...), "\x00")))
	return fmt.Sprintf("%s-%x", clean, sum[:keySum])
}
