package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/volsnap/volsnap/config"
)

var update = flag.Bool("update", false, "write the messages into testdata/bad")

// An archive in testdata/bad holds pairs of files: NAME.yaml, and in NAME.err all that is said of it.
func TestBad(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(archive.Files); i += 2 {
			in, want := archive.Files[i], &archive.Files[i+1]
			name := strings.TrimSuffix(in.Name, ".yaml")
			if want.Name != name+".err" {
				t.Fatalf("%s: %s is followed by %s", path, in.Name, want.Name)
			}
			cases++
			t.Run(name, func(t *testing.T) {
				got := complaints(t, in.Data)
				if *update {
					want.Data = []byte(got)
				} else if diff := cmp.Diff(string(want.Data), got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cases < 100 {
		t.Errorf("only %d bad files", cases)
	}
}

func complaints(t *testing.T, data []byte) string {
	t.Helper()
	c, err := config.Parse("volsnap.yaml", data)
	var problems config.Problems
	if !errors.As(err, &problems) || c != nil {
		t.Fatalf("Parse = %+v, %v; want Problems", c, err)
	}
	for _, p := range problems {
		if p.File != "volsnap.yaml" || strings.ContainsAny(p.String(), "\n\r\x00\x1b") {
			t.Errorf("%#v", p)
		}
	}
	return err.Error() + "\n"
}

// What cannot be written into a text file, or is too large for one.
func TestBadBytes(t *testing.T) {
	minimal := goodFiles(t)["minimal.yaml"]
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "volsnap.yaml: the file is empty: at least version and apps are needed"},
		{"BOM alone", "\ufeff", "volsnap.yaml: the file is empty: at least version and apps are needed"},
		{"binary", "\x7fELF\x02\x01\x01\x00\xff\xfe", "volsnap.yaml:1: the file is not UTF-8 text"},
		{"latin 1", "version: 1\napps: # \xe4\n", "volsnap.yaml:2: the file is not UTF-8 text"},
		{"UTF-16", "\xff\xfev\x00e\x00r\x00", "volsnap.yaml:1: the file is not UTF-8 text"},
		{"NUL", "version: 1\napps: {a\x00: {}}\n", "volsnap.yaml:2: the line contains the unprintable character U+0000"},
		{"NUL bytes after a crash", strings.Repeat("\x00", 512), "volsnap.yaml:1: the line contains the unprintable character U+0000"},
		{"escape sequence", "version: 1\n# \x1b[2J\n", "volsnap.yaml:2: the line contains the unprintable character U+001B"},
		{"lone CR", "version: 1\rapps: {}\n", "volsnap.yaml:1: the line contains the unprintable character U+000D"},
		{"second BOM", "\ufeff\ufeff" + minimal, "volsnap.yaml:1: [\"\\ufeffversion\"]: unknown key (keys: version, state_dir, run_dir, metrics, apps, targets)\nvolsnap.yaml:1: version: is missing: write version: 1"},
		{"larger than 1 MiB", minimal + strings.Repeat("#", 1<<20), "volsnap.yaml: the file is larger than 1 MiB"},
		{"too many lines", minimal + strings.Repeat("#\n", 5_000), "volsnap.yaml: the file has more than 5000 lines"},
		{"long line", "version: 1 #" + strings.Repeat(" ", 4096) + "\n", "volsnap.yaml:1: the line is longer than 4096 bytes"},
		{"tabs", "version: 1\napps:\n\tblog:\n\t\tproject: blog\n", "volsnap.yaml:3: a tab in the indentation: YAML takes only spaces there\n" +
			"volsnap.yaml:4: a tab in the indentation: YAML takes only spaces there"},
		{"a panic of other versions", "key:\n}", "volsnap.yaml:1: version: is missing: write version: 1\nvolsnap.yaml:1: apps: is missing: at least one app is needed\n" +
			"volsnap.yaml:2: key: unknown key (keys: version, state_dir, run_dir, metrics, apps, targets)"}, // goccy/go-yaml#890
		{"deep", "a: " + strings.Repeat("[", 17), "volsnap.yaml:1: more than 16 levels deep"},
		{"deep blocks", "a:\n" + strings.Repeat("- ", 2000) + "a\n", "volsnap.yaml:2: more than 16 levels deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want+"\n", complaints(t, []byte(c.in))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Wherever a file is cut off, the answer is an error or a configuration, and the cut inside of a value is never taken for a
// shorter list of apps without a word: what is left of an app has to be one.
func TestTruncated(t *testing.T) {
	whole := goodFiles(t)["ccn.yaml"]
	for i := range whole {
		c, err := config.Parse("volsnap.yaml", []byte(whole[:i]))
		var problems config.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("cut after %d: %v", i, err)
		}
		if err == nil && len(c.Apps) != 1 {
			t.Fatalf("cut after %d: %+v", i, c)
		}
	}
}

// Text that is costly to parse is answered. Without the bounds on a file several of these take minutes.
func TestCostlyText(t *testing.T) {
	for name, text := range map[string]string{
		"empty lines in a block": "a: |\n" + strings.Repeat("\n", 4_990),
		"keys":                   strings.Repeat("a: 1\n", 4_990),
		"different keys":         manyKeys(4_990),
		"flow":                   "a: [" + strings.Repeat(strings.Repeat("a, ", 1300)+"\n", 250) + "]\n",
		"open braces":            strings.Repeat(strings.Repeat("{", 4000)+"\n", 250),
		"one key a level":        levels(1400),
		"dashes":                 strings.Repeat(strings.Repeat("- ", 2000)+"a\n", 250),
		"quotes":                 "a: \"" + strings.Repeat(strings.Repeat("\\n", 2000)+"\n", 250),
		"anchors":                strings.Repeat("a: &a [*a, *a]\n", 4_990),
		"colons":                 strings.Repeat(strings.Repeat("a: ", 1300)+"\n", 250),
		"long plain text":        "a: " + strings.Repeat(strings.Repeat("b ", 2000)+"\n  ", 250),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if _, err := config.Parse("volsnap.yaml", []byte(text)); err == nil {
				t.Error("no error")
			}
			t.Logf("took %s", time.Since(began))
		})
	}
}

func manyKeys(n int) string {
	var b bytes.Buffer
	for i := range n {
		b.WriteString("k" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + ": 1\n")
	}
	return b.String()
}

func levels(n int) string {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestManyProblems(t *testing.T) {
	_, err := config.Parse("volsnap.yaml", []byte(strings.Repeat("a: 1\n", 500)))
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 502 {
		t.Fatalf("%d problems", len(problems))
	}
	lines := strings.Split(err.Error(), "\n")
	if want := "volsnap.yaml: and 402 more problems"; len(lines) != 101 || lines[100] != want {
		t.Errorf("%d lines, the last %q; want 101 and %q", len(lines), lines[len(lines)-1], want)
	}
}
