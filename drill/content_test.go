package drill

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// named writes a file that is named for another content if there is a lie.
func writeNamed(t *testing.T, dir, text, lie string) (name string) {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	name = hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text+lie), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func contentOf(t *testing.T, dir, how string, named map[string]bool, taken time.Time) report.DrillCheck {
	t.Helper()
	tr := &trial{
		app: App{Content: how}, named: named, set: snapset.Set{Manifest: &snapset.Manifest{PauseMS: 100}},
		drill: &Drill{}, volumes: []volume{{member: snapset.Member{Volume: "v", Taken: taken}, at: dir}},
	}
	if err := tr.contents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(tr.report.Checks) == 0 {
		return report.DrillCheck{}
	}
	return tr.report.Checks[0]
}

func TestContent(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"flat", "deep/er", "pg/global"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if c := contentOf(t, dir, Sample, nil, time.Now()); c.Name != "" {
		t.Errorf("without such files: %+v", c)
	}
	for i := range 1500 {
		writeNamed(t, filepath.Join(dir, []string{"flat", "deep/er"}[i%2]), fmt.Sprint(i), "")
	}
	writeNamed(t, filepath.Join(dir, "pg"), "in a data directory", "lie") // PostgreSQL has none, and it is not looked at
	if err := os.WriteFile(filepath.Join(dir, "pg/global/pg_control"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, strings.Repeat("a", 64))); err != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]string{Sample: "1000 of 1500 files", Full: "1500 of 1500 files"} {
		if c := contentOf(t, dir, how, nil, time.Now()); !c.OK || !strings.Contains(c.Detail, want) {
			t.Errorf("%s: %+v", how, c)
		}
	}
	if c := contentOf(t, dir, None, nil, time.Now()); c.Name != "" {
		t.Errorf("none: %+v", c)
	}
}

// A file that was being written when its writer was held is no damage, unless a row names it.
func TestContentInFlight(t *testing.T) {
	taken := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		before time.Duration // that it was written to, of when the snapshot was there
		named  bool
		ok     bool
	}{
		{"while the writers were held", 50 * time.Millisecond, false, true},
		{"just before", 115 * time.Millisecond, false, true},
		{"and a row names it", 115 * time.Millisecond, true, false},
		{"long before", time.Second, false, false},
		{"in time to come", -time.Second, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			name := writeNamed(t, dir, "text", "lie")
			at := taken.Add(-tt.before)
			if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
				t.Fatal(err)
			}
			c := contentOf(t, dir, Full, map[string]bool{"v\x00" + name: tt.named}, taken)
			if c.OK != tt.ok || !strings.Contains(c.Detail, name) {
				t.Errorf("%+v", c)
			}
		})
	}
}
