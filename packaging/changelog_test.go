package packaging_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	noteTitle = regexp.MustCompile(`^(Security|Change|Bugfix|Enhancement): [A-Z][^\n]{9,90}[^.\n]$`)
	noteIssue = regexp.MustCompile(`^Issue: [0-9]+$`)
	noteName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\.md$`)
)

// TestChangeNotes checks the form that changelog/README.md asks for.
func TestChangeNotes(t *testing.T) {
	files, err := filepath.Glob("../changelog/unreleased/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if !noteName.MatchString(filepath.Base(file)) {
				t.Error("the name is not <issue or topic>-<few-words>.md")
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			paragraphs := strings.Split(strings.TrimSpace(string(text)), "\n\n")
			if len(paragraphs) < 3 {
				t.Fatal("want a title, a text and the issue, with empty lines between")
			}
			if !noteTitle.MatchString(paragraphs[0]) {
				t.Errorf("the first line is %q", paragraphs[0])
			}
			if last := paragraphs[len(paragraphs)-1]; !noteIssue.MatchString(last) {
				t.Errorf("the last line is %q", last)
			}
		})
	}
}
