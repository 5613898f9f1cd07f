package main

import (
	"go/ast"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// How the tests of docs_test.go read documents and code.

func testProgram() *program {
	return &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
}

// readDoc is a document by its path from the root.
func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docsRoot, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func exists(path string) bool {
	_, err := os.Stat(filepath.Join(docsRoot, path))
	return err == nil
}

// documents are those that this package's tests are about.
func documents(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "packaging/README.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(docsRoot, pattern))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range found {
			rel, err := filepath.Rel(docsRoot, path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, rel)
		}
	}
	return all
}

// sectionsOf is the text under each heading of the second level.
func sectionsOf(doc string) map[string]string {
	sections := map[string]string{}
	for _, part := range strings.Split("\n"+doc, "\n## ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		sections[title] = text
	}
	return sections
}

// tableRows are the cells of the tables in a text, without their heads. `\|` is no border.
func tableRows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		if strings.HasPrefix(line, "| ---") {
			all = all[:max(len(all)-1, 0)]
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "\x00"), "|"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "\x00", "|")
		}
		all = append(all, cells)
	}
	return all
}

type codeBlock struct{ kind, text string }

// codeBlocks are the fenced code blocks of a document.
func codeBlocks(doc string) []codeBlock {
	var all []codeBlock
	for i, part := range strings.Split("\n"+doc, "\n```") {
		if kind, text, ok := strings.Cut(part, "\n"); ok && i%2 == 1 {
			all = append(all, codeBlock{strings.TrimSpace(kind), text + "\n"})
		}
	}
	return all
}

// commandLine splits a line of a shell example that calls volsnap, up to a comment, pipe or redirection.
func commandLine(line string) ([]string, bool) {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "volsnap" {
		return nil, false
	}
	if end := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "#") || strings.ContainsAny(w, "|>;&") }); end >= 0 {
		words = words[:end]
	}
	return words, true
}

// commandName is the words of a table's cell before the first argument or option.
func commandName(cell string) string {
	name, _, _ := strings.Cut(strings.Trim(cell, "`"), "`")
	var words []string
	for _, w := range strings.Fields(name) {
		if strings.ToLower(w) != w || strings.ContainsAny(w, "[-") {
			break
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func flagNames(flags []cli.Flag) []string {
	names := []string{}
	for _, f := range flags {
		names = append(names, "--"+f.Names()[0])
	}
	sort.Strings(names)
	return names
}

func eachCommand(commands []*cli.Command, above string, fn func(name string, c *cli.Command)) {
	for _, c := range commands {
		fn(above+c.Name, c)
		eachCommand(c.Subcommands, above+c.Name+" ", fn)
	}
}

// jsonFields notes the JSON fields of a struct by their paths, with what the page calls their types.
func jsonFields(t reflect.Type, above string, found map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			jsonFields(f.Type, above, found)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue // is not printed
		}
		path := above + name
		words := kindOf(f.Type)
		if strings.HasPrefix(options, "omit") {
			words += ", optional"
		}
		found[path] = words
		switch inner := f.Type; {
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			jsonFields(inner.Elem(), path+"[].", found)
		case inner.Kind() == reflect.Pointer && kindOf(inner) == "object or null":
			jsonFields(inner.Elem(), path+".", found)
		}
	}
}

func kindOf(t reflect.Type) string {
	switch {
	case t.String() == "time.Time":
		return "time"
	case t.Kind() == reflect.Pointer && kindOf(t.Elem()) == "time":
		return "time or null"
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Float64:
		return "number or null"
	case t.Kind() == reflect.Pointer:
		return "object or null"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list"
	case t.Kind() == reflect.Slice:
		return "list of " + kindOf(t.Elem())
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64, t.Kind() == reflect.Uint64, t.Kind() == reflect.Float64:
		return "number"
	}
	return t.String()
}

// kindInWords is the type that a row tells, and whether it calls the field optional.
func kindInWords(row []string) string {
	words := row[1]
	if strings.HasPrefix(row[2], "optional") {
		words += ", optional"
	}
	return words
}

func hasJSON(spec *ast.TypeSpec) bool {
	s, ok := spec.Type.(*ast.StructType)
	return ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
		return f.Tag != nil && strings.Contains(f.Tag.Value, "json:")
	})
}

func typeNames(t reflect.Type, found map[string]bool) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || found[t.Name()] || t.PkgPath() == "time" {
		return
	}
	found[t.Name()] = true
	for i := range t.NumField() {
		typeNames(t.Field(i).Type, found)
	}
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)\(`)

// testNames are the tests of the whole module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(docsRoot, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
