package jks

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
)

func TestEncode(t *testing.T) {
	got, err := Encode([][]byte{{0x30, 0x00}}, "changeit")
	if err != nil {
		t.Fatal(err)
	}
	const want = "feedfeed" + "00000002" + "00000001" +
		"00000002" + "0006" + "726f6f742d30" + "0000000000000000" + "0005" + "582e353039" + "00000002" + "3000"
	if body := hex.EncodeToString(got[:len(got)-20]); body != want {
		t.Errorf("store is %s, want %s", body, want)
	}
	if !IsStore(got) || IsStore([]byte{0x30, 0x82}) {
		t.Error("IsStore is wrong about its own or about PKCS #12")
	}
}

// A private key's entry is skipped, its chain with it.
func TestDecodeSkipsKeys(t *testing.T) {
	store, err := hex.DecodeString("feedfeed" + "00000002" + "00000002" +
		"00000001" + "0001" + "6b" + "0000000000000000" + "00000003" + "010203" + "00000001" + "0005" + "582e353039" + "00000001" + "ff" +
		"00000002" + "0001" + "74" + "0000000000000000" + "0005" + "582e353039" + "00000002" + "3000" + "0011")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := Decode(store)
	if err != nil || len(certs) != 1 || !bytes.Equal(certs[0], []byte{0x30, 0x00}) {
		t.Errorf("Decode = %x, %v, want the trusted certificate alone", certs, err)
	}
	for n := range len(store) - 2 { // the digest is not looked at
		if _, err := Decode(store[:n]); err == nil {
			t.Errorf("a store cut to %d bytes is read, want an error", n)
		}
	}
}

// What was read is read again once it was written.
func FuzzDecode(f *testing.F) {
	one, _ := Encode([][]byte{{0x30, 0x00}, {}}, "changeit")
	f.Add(one)
	f.Add(append([]byte{0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 1}, one[8:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Encode(certs, "p")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(again); err != nil || !slices.EqualFunc(back, certs, bytes.Equal) {
			t.Errorf("Decode(Encode(%x)) = %x, %v", certs, back, err)
		}
	})
}
