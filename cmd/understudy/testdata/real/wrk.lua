-- Tells of each answer that is not the one that it should be.
local want = os.getenv("WANT_BODY")

function response(status, headers, body)
  if status ~= 200 or body ~= want then
    print("MISMATCH " .. status .. " " .. #body)
  end
end
