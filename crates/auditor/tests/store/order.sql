INSERT INTO head VALUES (1, 1, 'log_o', 5, 6, 1060, 1, '0.1.0');
INSERT INTO inbox VALUES
    (1, 'cmd_1', 'order.rpc.place.v1', 'usr_1', NULL, NULL, 'cmd_1', 'cmd_1', 'usr_1;customer', 1000, NULL,
        '{"unit_price":{"amount":100,"currency":"GBP"}}', 'print', '{"status":202,"body":{"id":"ord_1"}}', '0.1.0'),
    (2, 'msg_p1', 'product.evt.stock_reserved.v1', 'ord_1', 'product', 1, '', '', 'system', 1020, NULL, '{"p":1}', NULL, NULL, '0.1.0'),
    (3, 'msg_y1', 'payment.evt.authorized.v1', 'ord_1', 'payment', 1, '', '', 'system', 1025, NULL, '{"y":1}', NULL, NULL, '0.1.0'),
    (4, 'msg_p2', 'product.evt.stock_committed.v1', 'ord_1', 'product', 2, '', '', 'system', 1040, NULL, '{"p":2}', NULL, NULL, '0.1.0'),
    (5, 'msg_y2', 'payment.evt.captured.v1', 'ord_1', 'payment', 2, '', '', 'system', 1060, NULL, '{"y":2}', NULL, NULL, '0.1.0');
INSERT INTO outbox VALUES
    (1, 'msg_o1', 'order.evt.placed.v1', 'ord_1', 'cmd_1', '', 'system', 1000, NULL, '{"o":1}'),
    (2, 'msg_o2', 'order.cmd.product.reserve_stock.v1', 'ord_1', 'cmd_1', '', 'system', 1000, NULL, '{"o":2}'),
    (3, 'msg_o3', 'order.cmd.payment.authorize.v1', 'ord_1', 'msg_p1', '', 'system', 1020, NULL, '{"o":3}'),
    (4, 'msg_o4', 'order.cmd.product.commit_stock.v1', 'ord_1', 'msg_y1', '', 'system', 1025, NULL, '{"o":4}'),
    (5, 'msg_o5', 'order.cmd.payment.capture.v1', 'ord_1', 'msg_p2', '', 'system', 1040, NULL, '{"o":5}'),
    (6, 'msg_o6', 'order.evt.confirmed.v1', 'ord_1', 'msg_y2', '', 'system', 1060, NULL, '{"o":6}');
INSERT INTO read_cursor VALUES ('order', 'product', 'log_p', 2, 'msg_p2'), ('order', 'payment', 'log_y', 2, 'msg_y2');
INSERT INTO orders VALUES ('ord_1', 5, 'confirmed', 1060, 0, 0, 0, 1000, 'usr_1', NULL, 'GBP', 100, 100, 0, 0,
    '[{"line":1,"sku_id":"sku_1","code":"A","quantity":1,"unit_price":100}]', NULL, NULL, NULL);
INSERT INTO timeline VALUES
    ('ord_1', 1, 1000, 'placed', 'placed', NULL), ('ord_1', 2, 1020, 'reserved', 'reserved', NULL),
    ('ord_1', 3, 1025, 'authorized', 'authorized', NULL), ('ord_1', 4, 1040, 'committed', 'committed', NULL),
    ('ord_1', 5, 1060, 'confirmed', 'confirmed', NULL);
