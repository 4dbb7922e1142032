// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a probe waits for an answer. The way is a few veths.
const patience = 700 * time.Millisecond

// ServeTCP answers every connection with "name peer-address". The address may
// be "host:port"; network is "tcp", "tcp4" or "tcp6" as for package net.
func (n *Netns) ServeTCP(network, addr, name string) io.Closer {
	n.T.Helper()
	var l net.Listener
	var err error
	for range 100 { // a server that was stopped goes when its Accept has returned
		if n.Do(func() { l, err = net.Listen(network, addr) }); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		n.T.Fatalf("%s: listen %s %s: %v", n.Name, network, addr, err)
	}
	n.T.Cleanup(func() { l.Close() })
	go answer(l, name)
	return l
}

// ServeOn is ServeTCP and ServeUDP for a socket that is bound to a link.
func (n *Netns) ServeOn(link, network, addr, name string) {
	n.T.Helper()
	var l net.Listener
	var c net.PacketConn
	var err error
	n.Do(func() {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), link) })
			return errors.Join(err, failed)
		}}
		if strings.HasPrefix(network, "udp") {
			c, err = lc.ListenPacket(context.Background(), network, addr)
		} else {
			l, err = lc.Listen(context.Background(), network, addr)
		}
	})
	switch {
	case err != nil:
		n.T.Fatalf("%s: listen %s %s on %s: %v", n.Name, network, addr, link, err)
	case c != nil:
		n.T.Cleanup(func() { c.Close() })
		go echo(c, name)
	default:
		n.T.Cleanup(func() { l.Close() })
		go answer(l, name)
	}
}

// answer is what ServeTCP does with connections.
func answer(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		fmt.Fprintf(c, "%s %s\n", name, host)
		c.Close()
	}
}

// ServeUDP answers every datagram with "name peer-address".
func (n *Netns) ServeUDP(network, addr, name string) io.Closer {
	n.T.Helper()
	var c net.PacketConn
	var err error
	n.Do(func() { c, err = net.ListenPacket(network, addr) })
	if err != nil {
		n.T.Fatalf("%s: listen %s %s: %v", n.Name, network, addr, err)
	}
	n.T.Cleanup(func() { c.Close() })
	go echo(c, name)
	return c
}

// echo is what ServeUDP does with datagrams.
func echo(c net.PacketConn, name string) {
	b := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(from.String())
		_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s\n", name, host), from)
	}
}

// Open connects a socket that stays open, as a client that keeps its port does.
func (n *Netns) Open(network, addr string) net.Conn {
	n.T.Helper()
	var c net.Conn
	var err error
	n.Do(func() { c, err = net.DialTimeout(network, addr, patience) })
	if err != nil {
		n.T.Fatalf("%s: dial %s %s: %v", n.Name, network, addr, err)
	}
	n.T.Cleanup(func() { c.Close() })
	return c
}

// Ask sends one datagram on c and returns who answers, "" for nobody.
func Ask(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("who\n")); err != nil {
		return ""
	}
	b := make([]byte, 1500)
	k, err := c.Read(b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:k]))
}

// Get connects to addr and returns "name peer-address" of who answers, "" if
// nobody does.
func (n *Netns) Get(network, addr string) string {
	n.T.Helper()
	var c net.Conn
	var err error
	n.Do(func() { c, err = net.DialTimeout(network, addr, patience) })
	if err != nil {
		return ""
	}
	defer c.Close()
	return Ask(c)
}

// WhoFrom is Who with a source address of the caller's choice.
func (n *Netns) WhoFrom(network, src, addr string) string {
	n.T.Helper()
	var c net.Conn
	var err error
	n.Do(func() {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(src)}}
		c, err = d.Dial(network, addr)
	})
	if err != nil {
		return ""
	}
	defer c.Close()
	who, _, _ := strings.Cut(Ask(c), " ")
	return who
}

// Who is Get without the peer's address.
func (n *Netns) Who(network, addr string) string {
	n.T.Helper()
	name, _, _ := strings.Cut(n.Get(network, addr), " ")
	return name
}

// OpenFrom is Open with a local address.
func (n *Netns) OpenFrom(network, from, to string) net.Conn {
	n.T.Helper()
	var c net.Conn
	n.Do(func() {
		local, err := net.ResolveUDPAddr(network, from)
		if err == nil {
			c, err = (&net.Dialer{LocalAddr: local, Timeout: patience}).Dial(network, to)
		}
		if err != nil {
			n.T.Logf("dial %s from %s: %v", to, from, err)
		}
	})
	if c == nil {
		n.T.Fatalf("%s: no socket", n.Name)
	}
	n.T.Cleanup(func() { c.Close() })
	return c
}

// Exchange sends a datagram on one socket and returns what the other receives.
func Exchange(from, to net.Conn, msg string) string {
	if _, err := from.Write([]byte(msg)); err != nil {
		return err.Error()
	}
	_ = to.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1500)
	k, err := to.Read(b)
	if err != nil {
		return err.Error()
	}
	return string(b[:k])
}
