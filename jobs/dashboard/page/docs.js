// The API's documentation: the server's own OpenAPI document, in Swagger UI.

import { read } from "./dom.js";

globalThis.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // Nothing is asked of other servers.
  validatorUrl: null,
  requestInterceptor(request) {
    const key = read(sessionStorage, "weir.key");
    if (key && new URL(request.url, location).origin === location.origin)
      request.headers.Authorization ??= `Bearer ${key}`;
    return request;
  },
});
