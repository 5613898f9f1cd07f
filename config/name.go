package config

import (
	"path"
	"regexp"
	"strings"
)

var (
	keyPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	// Docker's names of volumes and containers, without the least length of two that newer versions ask for.
	dockerPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
	// Compose's names of projects.
	projectPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	// Less than PostgreSQL takes: psql would read a name with "=" or "://" as connection parameters.
	postgresPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.$-]*$`)
)

const (
	maxName     = 255 // a directory's name, which a volume's and a container's become
	maxRole     = 63  // NAMEDATALEN-1; PostgreSQL cuts longer names off
	maxPath     = 4095
	maxArgument = 128 << 10 // MAX_ARG_STRLEN of execve(2), with its NUL
)

// name is a text of a form.
func (v value) name(what, such string, form *regexp.Regexp, most int) (string, bool) {
	s, ok := v.str(such)
	switch {
	case !ok:
	case len(s) > most:
		v.fail("%s is too long for %s: at most %d bytes", quote(s), what, most)
	case !form.MatchString(s):
		v.fail("%s is no name of %s: want %s", quote(s), what, forms[form])
	default:
		return s, true
	}
	return "", false
}

var forms = map[*regexp.Regexp]string{
	dockerPattern:   `letters, digits, "_", "." and "-", with a letter or digit first`,
	projectPattern:  `a-z, 0-9, "_" and "-", with a letter or digit first`,
	postgresPattern: `letters, digits, "_", ".", "$" and "-", with a letter, digit or "_" first`,
}

func (v value) volume() (string, bool) {
	if strings.HasPrefix(v.text, "/") && v.kind == text {
		v.fail("%s is a host path: write it as path", quote(v.text))
		return "", false
	}
	return v.name("a Docker volume", "myapp_data", dockerPattern, maxName)
}

func (v value) container() (string, bool) {
	return v.name("a container", "myapp-postgres-1", dockerPattern, maxName)
}

// path is an absolute path in its shortest form that is not the root.
func (v value) path() (string, bool) {
	s, ok := v.str("/srv/myapp")
	if !ok {
		return "", false
	}
	switch clean := path.Clean(s); {
	case len(s) > maxPath:
		v.fail("%s is too long for a path: at most %d bytes", quote(s), maxPath)
	case !strings.HasPrefix(s, "/"):
		v.fail("%s is a relative path: it must begin with /", quote(s))
	case clean == "/":
		v.fail("%s is the root of the host: name a directory below it", quote(s))
	case longest(s) > maxName:
		v.fail("%s has a part that is too long for a path: at most %d bytes", quote(s), maxName)
	case clean != s:
		v.fail(`%s is not in its shortest form, without "..", "." and doubled or closing slashes: write %s`, quote(s), quote(clean))
	default:
		return s, true
	}
	return "", false
}

func longest(p string) int {
	most := 0
	for part := range strings.SplitSeq(p, "/") {
		most = max(most, len(part))
	}
	return most
}
