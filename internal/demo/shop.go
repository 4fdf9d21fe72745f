package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// article is something that the shop sells.
type article struct {
	SKU   string `json:"sku"`
	Name  string `json:"name"`
	Cents int    `json:"cents"` // EUR
}

var catalogue = []article{
	{"tea", "Tea, 100 g", 790}, {"kettle", "Kettle", 3490}, {"cups", "Two cups", 2400},
	{"tray", "Tray", 1890}, {"table", "Side table", 14900}, {"lamp", "Lamp", 8900},
}

// currencies are those that customers pay in.
var currencies = []string{"EUR", "USD", "GBP", "CHF"}

// shop is the program under test: it knows payments by a URL and nothing else.
type shop struct {
	payments paymentsClient
}

// stepField carries a customer's step through the shop, so that the calls of two
// sessions can be paired. It does not reach payments.
const stepField = "X-Step"

func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products", s.products)
	mux.HandleFunc("POST /checkout", s.checkout)
	mux.HandleFunc("GET /orders/{charge}", s.track)
	return mux
}

// products lists the catalogue in the customer's currency.
func (s *shop) products(w http.ResponseWriter, r *http.Request) {
	rate, err := s.rate(r.Context(), r.Header.Get(stepField), r.URL.Query().Get("currency"))
	if err != nil {
		refuse(w, http.StatusBadGateway, "payments_unavailable", err.Error())
		return
	}
	list := slices.Clone(catalogue)
	for i := range list {
		list[i].Cents = int(float64(list[i].Cents) * rate)
	}
	answer(w, http.StatusOK, list)
}

func (s *shop) rate(ctx context.Context, step, currency string) (float64, error) {
	body, status, err := s.payments.do(ctx, step, "GET", "/v1/rates", nil)
	if err != nil || status != http.StatusOK {
		return 0, unavailable(status, err)
	}
	var table struct{ Rates map[string]float64 }
	if err := json.Unmarshal(body, &table); err != nil {
		return 0, fmt.Errorf("read rates: %w", err)
	}
	if rate, ok := table.Rates[currency]; ok {
		return rate, nil
	}
	return 1, nil // the base, EUR
}

// order is what a customer sends to the till.
type order struct {
	SKU      string `json:"sku"`
	Count    int    `json:"count"`
	Currency string `json:"currency"`
	Customer string `json:"customer"`
}

// checkout asks payments three times: rates, charge, confirmation.
func (s *shop) checkout(w http.ResponseWriter, r *http.Request) {
	var in order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_order", err.Error())
		return
	}
	at := slices.IndexFunc(catalogue, func(a article) bool { return a.SKU == in.SKU })
	if at < 0 || in.Count < 1 {
		refuse(w, http.StatusBadRequest, "invalid_order", "no such article")
		return
	}
	ctx, step := r.Context(), r.Header.Get(stepField)
	rate, err := s.rate(ctx, step, in.Currency)
	if err != nil {
		refuse(w, http.StatusBadGateway, "payments_unavailable", err.Error())
		return
	}
	request, err := json.Marshal(chargeRequest{
		Amount: int(float64(catalogue[at].Cents*in.Count) * rate), Currency: in.Currency, Customer: in.Customer, Card: "visa",
		IdempotencyKey: uuid(), SentAt: time.Now().UTC().Format(time.RFC3339Nano),
	})
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	body, status, err := s.payments.do(ctx, step, "POST", "/v1/charges", request)
	if status == http.StatusPaymentRequired {
		refuse(w, http.StatusPaymentRequired, "card_declined", "try another card")
		return
	}
	var c charge
	if err != nil || status != http.StatusCreated || json.Unmarshal(body, &c) != nil {
		refuse(w, http.StatusBadGateway, "payments_unavailable", unavailable(status, err).Error())
		return
	}
	if _, status, err = s.payments.do(ctx, step, "GET", "/v1/charges/"+c.ID, nil); err != nil || status != http.StatusOK {
		refuse(w, http.StatusBadGateway, "payments_unavailable", unavailable(status, err).Error())
		return
	}
	answer(w, http.StatusCreated, map[string]string{"charge": c.ID})
}

// track follows a charge's events to the last and tells how many there were.
func (s *shop) track(w http.ResponseWriter, r *http.Request) {
	body, status, err := s.payments.do(r.Context(), r.Header.Get(stepField), "GET", "/v1/events?charge="+r.PathValue("charge"), nil)
	if err != nil || status != http.StatusOK {
		refuse(w, http.StatusBadGateway, "payments_unavailable", unavailable(status, err).Error())
		return
	}
	answer(w, http.StatusOK, map[string]int{"events": bytes.Count(body, []byte("\n\n"))})
}

func unavailable(status int, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("payments answered %d", status)
}
